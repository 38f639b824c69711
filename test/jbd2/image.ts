// What the journal tests need of an image: its size, and where its journal lies, decoded from inode 8 in the obvious
// way (extents or block map, DataView on the whole image). Flows are run on a synchronous device.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { ABI_HEAP } from '../../assembly/abi.ts';
import type { BlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import type { Flow, IoRequest } from '../../ts/flow.ts';
import { serveSync } from '../../ts/flow.ts';
import type { JournalSource } from '../../ts/jbd2/source.ts';
import { createKernels, createMemory } from '../../ts/wasm.ts';
import { ORACLES } from '../need.ts';

export interface Image {
  readonly bytes: Uint8Array;
  readonly blockSize: number;
  readonly blocks: number;
  /** Home block of each journal block; -1 for a hole. */
  readonly journal: number[];
}

export interface Vector {
  name: string;
  bs: number;
  k_rc: string;
  n: { k: number; d: number; e: number };
  vec: Record<string, string>;
}

export function vectors(folder: string): Vector[] {
  const lines = readFileSync(join(ORACLES, folder, 'replay-vectors.jsonl'), 'utf8').trim();
  return lines.split('\n').map((line) => JSON.parse(line));
}

// Tests ask for one image many times in a row.
let last: { path: string; bytes: Uint8Array } | undefined;

/** The bytes of an oracle image: a copy of one's own. */
export function imageBytes(folder: string, name: string): Uint8Array {
  const path = join(ORACLES, folder, `${name}.gz`);
  if (last?.path !== path) last = { path, bytes: gunzipSync(readFileSync(path)) };
  return new Uint8Array(last.bytes);
}

export function openImage(bytes: Uint8Array): Image {
  const dv = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sb = 1024;
  const blockSize = 1024 << dv.getUint32(sb + 0x18, true);
  const is64 = (dv.getUint32(sb + 0x60, true) & 0x80) !== 0;
  const blocks = dv.getUint32(sb + 0x04, true);
  const first = dv.getUint32(sb + 0x14, true);
  const inodeSize = dv.getUint16(sb + 0x58, true) || 128;
  const group0 = (first + 1) * blockSize;
  const high = is64 && dv.getUint16(sb + 0xfe, true) >= 64 ? dv.getUint32(group0 + 0x28, true) : 0;
  const table = high * 2 ** 32 + dv.getUint32(group0 + 0x08, true);
  const inode = table * blockSize + 7 * inodeSize;
  const journal = blockList({ bytes, dv, blockSize }, inode);
  return { bytes, blockSize, blocks, journal };
}

interface Raw {
  bytes: Uint8Array;
  dv: DataView;
  blockSize: number;
}

function blockList(raw: Raw, inode: number): number[] {
  const length = Math.ceil(raw.dv.getUint32(inode + 0x04, true) / raw.blockSize);
  const list: number[] = new Array(length).fill(-1);
  const set = (lblk: number, pblk: number) => {
    if (lblk < length && pblk !== 0) list[lblk] = pblk;
  };
  const extents = (raw.dv.getUint32(inode + 0x20, true) & 0x80000) !== 0;
  if (extents) extentNode(raw, inode + 0x28, set);
  else blockMap(raw, inode + 0x28, set);
  return list;
}

type SetBlock = (lblk: number, pblk: number) => void;

function extentNode(raw: Raw, node: number, set: SetBlock): void {
  const { dv } = raw;
  const depth = dv.getUint16(node + 6, true);
  for (let i = 0; i < dv.getUint16(node + 2, true); i++) {
    const at = node + 12 + 12 * i;
    if (depth > 0) {
      extentNode(raw, dv.getUint32(at + 4, true) * raw.blockSize, set);
      continue;
    }
    const [lblk, len, pblk] = [dv.getUint32(at, true), dv.getUint16(at + 4, true), at + 8];
    for (let b = 0; b < len; b++) set(lblk + b, dv.getUint32(pblk, true) + b);
  }
}

function blockMap(raw: Raw, at: number, set: SetBlock): void {
  const { dv } = raw;
  const per = raw.blockSize / 4;
  const walk = (pblk: number, depth: number, lblk: number): void => {
    if (depth === 0) set(lblk, pblk);
    else if (pblk !== 0 && (pblk + 1) * raw.blockSize <= raw.bytes.length) {
      for (let i = 0; i < per; i++) {
        walk(
          dv.getUint32(pblk * raw.blockSize + 4 * i, true),
          depth - 1,
          lblk + i * per ** (depth - 1),
        );
      }
    }
  };
  for (let i = 0; i < 12; i++) set(i, dv.getUint32(at + 4 * i, true));
  walk(dv.getUint32(at + 48, true), 1, 12);
  walk(dv.getUint32(at + 52, true), 2, 12 + per);
}

let shared: ReturnType<typeof createKernels> | undefined;

export const WINDOW = 1 << 20;

export function kernels() {
  shared ??= createKernels(createMemory(ABI_HEAP + WINDOW, false));
  return shared;
}

/** The image's journal on a device that holds the image. */
export function sourceOf(
  image: Image,
  device: BlockDevice = memoryDevice(image.bytes),
  window = 65536,
): JournalSource {
  const { blockSize, blocks, journal } = image;
  return {
    device,
    blockSize,
    length: journal.length,
    superBlock: 0,
    locate: (jblk) => (journal[jblk] < 0 ? -1 : journal[jblk] * blockSize),
    home: { device, blocks },
    kernels: kernels(),
    window: { ptr: ABI_HEAP, bytes: window },
  };
}

/** Drives a flow to its end on synchronous devices; `watch` sees each request before it is served. */
export function run<T>(flow: Flow<T>, watch: (r: IoRequest) => void = () => {}): T {
  for (let r = flow.next(); ; r = flow.next()) {
    if (r.done) return r.value;
    if (!('device' in r.value)) throw new Error(`recovery asks for I/O only, not ${r.value.op}`);
    watch(r.value);
    serveSync(r.value);
  }
}

/** The whole contents of a device. */
export function contents(device: BlockDevice): Uint8Array {
  const bytes = new Uint8Array(device.size);
  device.readSync!(bytes, 0);
  return bytes;
}

/** Whether two byte arrays are equal; the matcher for deep equality takes minutes on an image. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
