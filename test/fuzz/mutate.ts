// Draws mutations of an image and applies them to its bytes; all is undone from the list of old bytes. What a case
// did is its list of patches, so that any case can be written down as a recipe.

import type { Layout, Region } from './layout.ts';
import type { Random } from './random.ts';

/** Position and the bytes there after the mutation, in hex. */
export type Patch = [pos: number, hex: string];

const INTERESTING = [
  0, 1, 2, 3, 4, 8, 11, 12, 16, 31, 32, 60, 127, 128, 255, 256, 1023, 1024, 4095, 4096, 0x7fff,
  0x8000, 0x8001, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

/** Mutates `layout.bytes` in place: one to four mutations, half of them with checksums made right again. */
export function mutate(layout: Layout, random: Random): Patch[] {
  const before = new Map<number, Uint8Array>();
  const fixes = new Set<() => void>();
  const rounds = 1 + (random.chance(0.4) ? random.int(4) : 0);
  const fixed = random.chance(0.7);
  for (let i = 0; i < rounds; i++) {
    const region = chooseRegion(layout, random);
    if (region === undefined) flipAnywhere(layout.bytes, before, random);
    else {
      keep(layout.bytes, before, region.pos, region.len);
      mutateRegion(layout.bytes, region, random);
      if (fixed && region.fix) fixes.add(region.fix);
    }
  }
  for (const fix of fixes) fix();
  return patches(layout.bytes, before);
}

/** Kinds are drawn evenly, then a region of the kind; sometimes none: any bit of the image. */
function chooseRegion(layout: Layout, random: Random): Region | undefined {
  if (layout.regions.length === 0 || random.chance(0.1)) return undefined;
  const kinds = [...new Set(layout.regions.map(({ kind }) => kind))];
  const kind = random.pick(kinds);
  return random.pick(layout.regions.filter((region) => region.kind === kind));
}

function keep(bytes: Uint8Array, before: Map<number, Uint8Array>, pos: number, len: number): void {
  if ((before.get(pos)?.length ?? 0) < len) before.set(pos, bytes.slice(pos, pos + len));
}

function flipAnywhere(bytes: Uint8Array, before: Map<number, Uint8Array>, random: Random): void {
  let pos = random.int(bytes.length);
  for (let tries = 0; tries < 50 && bytes[pos] === 0; tries++) pos = random.int(bytes.length);
  keep(bytes, before, pos, 1);
  bytes[pos] ^= 1 << random.int(8);
}

function mutateRegion(bytes: Uint8Array, region: Region, random: Random): void {
  const how = random.int(20);
  if (how === 0) {
    const pos = region.pos + random.int(region.len);
    bytes[pos] ^= 1 << random.int(8);
  } else if (how === 1) {
    const [from, to] = [random.int(region.len), random.int(region.len)];
    const len = Math.min(4 * (1 + random.int(16)), region.len - Math.max(from, to));
    bytes.copyWithin(region.pos + to, region.pos + from, region.pos + from + len);
  } else if (region.fields.length > 0) {
    setField(bytes, region, random);
  }
}

function setField(bytes: Uint8Array, region: Region, random: Random): void {
  const [off, size] = random.pick(region.fields);
  if (off + size > region.len) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset + region.pos + off, size);
  const little = !region.bigEndian;
  const old =
    size === 1
      ? view.getUint8(0)
      : size === 2
        ? view.getUint16(0, little)
        : view.getUint32(0, little);
  const value = valueFrom(old, size, random);
  if (size === 1) view.setUint8(0, value);
  else if (size === 2) view.setUint16(0, value, little);
  else view.setUint32(0, value, little);
}

function valueFrom(old: number, size: number, random: Random): number {
  const how = random.int(6);
  if (how === 0) return random.u32();
  if (how === 1) return old ^ (1 << random.int(8 * size));
  if (how === 2) return old + random.pick([-1, 1, -4, 4, 8, 12, 256]);
  if (how === 3) return random.int(64);
  return random.pick(INTERESTING);
}

/** The changed runs of the kept ranges. Overlapping ranges were kept in order: the first holds the true old bytes. */
function patches(bytes: Uint8Array, before: Map<number, Uint8Array>): Patch[] {
  const old = new Map<number, number>();
  for (const [pos, kept] of before)
    for (let i = 0; i < kept.length; i++) if (!old.has(pos + i)) old.set(pos + i, kept[i]);
  const changed = [...old].filter(([pos, byte]) => bytes[pos] !== byte).map(([pos]) => pos);
  changed.sort((a, b) => a - b);
  const out: Patch[] = [];
  for (let i = 0; i < changed.length; ) {
    let end = i + 1;
    while (end < changed.length && changed[end] === changed[end - 1] + 1) end++;
    out.push([
      changed[i],
      Buffer.from(bytes.slice(changed[i], changed[end - 1] + 1)).toString('hex'),
    ]);
    i = end;
  }
  return out;
}

export function apply(bytes: Uint8Array, list: Patch[]): void {
  for (const [pos, hex] of list) bytes.set(Buffer.from(hex, 'hex'), pos);
}
