// CRC-32, polynomial 0x04c11db7, most significant bit first, raw state: what v1 journal checksums use and nothing
// else does, so it is no kernel. The table is made at first use.

let table: Uint32Array | undefined;

function makeTable(): Uint32Array {
  const t = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let c = (i << 24) >>> 0;
    for (let bit = 0; bit < 8; bit++) c = c & 0x80000000 ? (c << 1) ^ 0x04c11db7 : c << 1;
    t[i] = c;
  }
  return t;
}

/** The state after `bytes`; start with 0xffffffff. */
export function crc32be(crc: number, bytes: Uint8Array): number {
  table ??= makeTable();
  const t = table;
  for (let i = 0; i < bytes.length; i++) crc = (crc << 8) ^ t[((crc >>> 24) ^ bytes[i]) & 0xff];
  return crc >>> 0;
}
