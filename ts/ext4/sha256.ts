// SHA-256 of a few bytes, synchronously, where the platform has no such call: only the tails of long encrypted names
// pass through here. Source: FIPS 180-4.

/** The digest, 32 bytes. */
export function sha256(message: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  padded.set(message);
  padded[message.length] = 0x80;
  const dv = new DataView(padded.buffer);
  dv.setUint32(padded.length - 4, message.length * 8);
  const h = fractions(8, 2);
  for (let at = 0; at < padded.length; at += 64) compress(h, dv, at);
  const out = new DataView(new ArrayBuffer(32));
  h.forEach((word, i) => {
    out.setUint32(4 * i, word);
  });
  return new Uint8Array(out.buffer);
}

const K = fractions(64, 3);

/** The first 32 bits of the fractional parts of the square or cube roots of the first primes. */
function fractions(count: number, root: number): Uint32Array {
  const found: number[] = [];
  for (let n = 2; found.length < count; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (prime) found.push(Math.floor((n ** (1 / root) % 1) * 2 ** 32));
  }
  return Uint32Array.from(found);
}

function compress(h: Uint32Array, dv: DataView, at: number): void {
  const w = new Uint32Array(64);
  for (let i = 0; i < 16; i++) w[i] = dv.getUint32(at + 4 * i);
  for (let i = 16; i < 64; i++) {
    const a = w[i - 15];
    const b = w[i - 2];
    w[i] =
      w[i - 16] +
      (ror(a, 7) ^ ror(a, 18) ^ (a >>> 3)) +
      w[i - 7] +
      (ror(b, 17) ^ ror(b, 19) ^ (b >>> 10));
  }
  const s = Uint32Array.from(h);
  for (let i = 0; i < 64; i++) {
    const e = s[4];
    const a = s[0];
    const choose = (e & s[5]) ^ (~e & s[6]);
    const t1 = s[7] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + choose + K[i] + w[i];
    const most = (a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]);
    const t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + most;
    s.copyWithin(1, 0, 7);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  s.forEach((word, i) => {
    h[i] += word;
  });
}

function ror(x: number, n: number): number {
  return (x >>> n) | (x << (32 - n));
}
