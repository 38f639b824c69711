// A real picture to store: a PNG of soft waves, made here so that the program need not carry one.

import { crc32 } from '../block/crc32.ts';

type Deflate = (bytes: Uint8Array) => Uint8Array<ArrayBuffer>;

/** A PNG of so many pixels; `phase` makes it another one. */
export function picture(
  width: number,
  height: number,
  phase: number,
  deflate: Deflate,
): Uint8Array {
  const rows = new Uint8Array(height * (3 * width + 1));
  for (let y = 0, at = 0; y < height; y++) {
    rows[at++] = 0; // no filter
    for (let x = 0; x < width; x++) {
      const wave = Math.sin(x / 40 + phase) + Math.cos(y / 30 - phase) + Math.sin((x + y) / 70);
      rows[at++] = 128 + 40 * wave;
      rows[at++] = (x * 255) / width;
      rows[at++] = 255 - (y * 255) / height + (x ^ y) / 64;
    }
  }
  const head = new Uint8Array(13);
  const dv = new DataView(head.buffer);
  dv.setUint32(0, width);
  dv.setUint32(4, height);
  head.set([8, 2], 8); // eight bits a channel, red green blue
  const mark = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const parts = [mark, chunk('IHDR', head), chunk('IDAT', deflate(rows)), chunk('IEND')];
  const file = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

function chunk(type: string, data = new Uint8Array(0)): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(data.length + 12);
  const dv = new DataView(out.buffer);
  dv.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
  out.set(data, 8);
  dv.setUint32(data.length + 8, crc32(out.subarray(4, data.length + 8)));
  return out;
}
