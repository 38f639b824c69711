// CRC-32C and CRC-16 as ext4 and jbd2 chain them, written as plain table loops of their own: the fuzzer must not
// lean on the kernels that it tests.

const TABLE32 = new Uint32Array(256);
const TABLE16 = new Uint16Array(256);
for (let i = 0; i < 256; i++) {
  let c = i;
  let d = i;
  for (let k = 0; k < 8; k++) {
    c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    d = d & 1 ? (d >>> 1) ^ 0xa001 : d >>> 1;
  }
  TABLE32[i] = c >>> 0;
  TABLE16[i] = d;
}

/** Raw state in and out: nothing is inverted. */
export function crc32c(state: number, bytes: Uint8Array): number {
  let c = state;
  for (const b of bytes) c = TABLE32[(c ^ b) & 0xff] ^ (c >>> 8);
  return c >>> 0;
}

export function crc16(state: number, bytes: Uint8Array): number {
  let c = state;
  for (const b of bytes) c = TABLE16[(c ^ b) & 0xff] ^ (c >>> 8);
  return c;
}

/** The bytes of integers, little-endian, for chaining. */
export function le32(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value, true);
  return bytes;
}
