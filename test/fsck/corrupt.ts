// Single-field corruptions, drawn from a seed: a record, a field of it, another value; where the record has a checksum
// it is made right again half the time, so that the field itself is judged. A case is known by image and number.

import * as F from '../../assembly/format/ext4.ts';
import { type Layout, Layout as LayoutOf, type Region } from '../fuzz/layout.ts';
import { type Random, random } from '../fuzz/random.ts';

export interface Case {
  bytes: Uint8Array;
  /** What was done, for a message. */
  text: string;
}

const INTERESTING = [
  0,
  1,
  2,
  3,
  4,
  8,
  12,
  16,
  60,
  128,
  255,
  256,
  1024,
  4096,
  32768,
  65535,
  2 ** 31,
];

/** The records of an image; drawn by kind, so that the few are met as often as the many. */
export function regionsOf(bytes: Uint8Array): Map<string, Region[]> {
  const layout: Layout = new LayoutOf(bytes);
  const kinds = new Map<string, Region[]>();
  for (const region of [...layout.regions, ...bitmaps(bytes)]) {
    const list = kinds.get(region.kind) ?? [];
    list.push(region);
    kinds.set(region.kind, list);
  }
  return kinds;
}

/** Case number `n` of an image: the same bytes each time. */
export function corruption(good: Uint8Array, n: number): Case {
  const draw = random(n * 7919 + 1);
  const bytes = good.slice();
  const kinds = regionsOf(bytes);
  const kind = draw.pick([...kinds.keys()]);
  const region = draw.pick(kinds.get(kind) as Region[]);
  const [off, size] = draw.pick(region.fields);
  const view = new DataView(bytes.buffer, region.pos + off, size);
  const little = !region.bigEndian;
  const old = get(view, size, little);
  let value = old;
  for (let tries = 0; value === old && tries < 20; tries++) value = valueFrom(old, size, draw);
  put(view, size, value, little);
  const sealed = region.fix !== undefined && draw.chance(0.5);
  if (sealed) region.fix?.();
  const where = `${kind} at ${region.pos}, byte ${off}`;
  return { bytes, text: `${where}: ${old} -> ${value}${sealed ? ', sealed' : ''}` };
}

function get(view: DataView, size: number, little: boolean): number {
  if (size === 1) return view.getUint8(0);
  return size === 2 ? view.getUint16(0, little) : view.getUint32(0, little);
}

function put(view: DataView, size: number, value: number, little: boolean): void {
  if (size === 1) view.setUint8(0, value);
  else if (size === 2) view.setUint16(0, value, little);
  else view.setUint32(0, value, little);
}

function valueFrom(old: number, size: number, draw: Random): number {
  const top = 2 ** (8 * size);
  switch (draw.int(5)) {
    case 0:
      return draw.u32() % top;
    case 1:
      return (old ^ (1 << draw.int(8 * size))) >>> 0;
    case 2:
      return (old + draw.pick([-1, 1, 4, 8, 12, 256]) + top) % top;
    case 3:
      return draw.int(64);
    default:
      return draw.pick(INTERESTING) % top;
  }
}

/** The bitmaps of the first groups, as fields of a byte. */
function bitmaps(bytes: Uint8Array): Region[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blockSize = 1024 << view.getUint32(F.SB_OFFSET + F.S_LOG_BLOCK_SIZE, true);
  const table = (view.getUint32(F.SB_OFFSET + F.S_FIRST_DATA_BLOCK, true) + 1) * blockSize;
  const found: Region[] = [];
  for (const [field, kind] of [
    [F.BG_BLOCK_BITMAP_LO, 'block bitmap'],
    [F.BG_INODE_BITMAP_LO, 'inode bitmap'],
  ] as const) {
    const pos = view.getUint32(table + field, true) * blockSize;
    if (pos === 0 || pos + blockSize > bytes.length) continue;
    const fields = Array.from({ length: blockSize }, (_, i): [number, number] => [i, 1]);
    found.push({ kind, pos, len: blockSize, fields });
  }
  return found;
}
