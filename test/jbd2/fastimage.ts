// The fast commits of an image, walked in the obvious way; changing them so that they still count; and what a mount
// makes of them: the image that it leaves and the tree that it shows.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ABI_HEAP } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/jbd2.ts';
import type { BlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type Ext4, type MountOptions, mountSync } from '../../ts/index.ts';
import { readLog } from '../../ts/jbd2/recovery.ts';
import { which } from '../need.ts';
import { dumpTree, type State, syncFace } from '../oracle/state.ts';
import { contents, type Image, kernels, run, sourceOf } from './image.ts';

export interface RawRecord {
  readonly tag: number;
  /** Of the record's header in the image. */
  readonly at: number;
  readonly len: number;
  readonly jblk: number;
}

export const viewOf = (image: Image) => new DataView(image.bytes.buffer, image.bytes.byteOffset);

/** The area's records up to the first that is none. */
export function records(image: Image): RawRecord[] {
  const { format } = run(readLog(sourceOf(image)));
  const dv = viewOf(image);
  const list: RawRecord[] = [];
  for (let jblk = format.fcFirst; jblk < format.fcEnd; jblk++) {
    const [start, end] = [0, 1].map((n) => (image.journal[jblk] + n) * image.blockSize);
    for (let at = start; at + 4 <= end; ) {
      const [tag, len] = [dv.getUint16(at, true), dv.getUint16(at + 2, true)];
      if (tag < 1 || tag > 9) return list;
      list.push({ tag, at, len, jblk });
      at += 4 + len;
    }
  }
  return list;
}

/** The commits: records up to and with a TAIL of this transaction. */
export function commits(image: Image, tid: number): RawRecord[][] {
  const list: RawRecord[][] = [];
  let open: RawRecord[] = [];
  for (const r of records(image)) {
    open.push(r);
    if (r.tag !== F.EXT4_FC_TAG_TAIL) continue;
    if (viewOf(image).getUint32(r.at + 4, true) !== tid) break;
    list.push(open);
    open = [];
  }
  return list;
}

/** Gives a commit the sum that its records have now. */
export function sumAnew(image: Image, commit: RawRecord[]): void {
  const k = kernels();
  let crc = 0;
  for (const r of commit) {
    const len = r.tag === F.EXT4_FC_TAG_TAIL ? 8 : 4 + r.len;
    k.u8.set(image.bytes.subarray(r.at, r.at + len), ABI_HEAP);
    crc = k.exports.crc32c(crc, ABI_HEAP, len) >>> 0;
  }
  viewOf(image).setUint32(commit.at(-1)!.at + 8, crc, true);
}

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ext4-fast-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Empty when `e2fsck -fn` finds nothing; else what it says. */
export function fsck(bytes: Uint8Array): string {
  const path = join(folder, 'checked');
  writeFileSync(path, bytes);
  const args = ['-s', 'KILL', '60', which('e2fsck'), '-fn', path];
  const { status, stdout } = spawnSync('timeout', args, { encoding: 'latin1' });
  return status === 0 ? '' : `e2fsck -fn exits ${status}\n${stdout}`;
}

/** Mounts a device and unmounts it; what info() said in between. */
export function replay(device: BlockDevice, o: MountOptions = {}): ReturnType<Ext4['info']> {
  const img = mountSync(device, { journal: 'replay', cacheBytes: 8 << 20, ...o });
  const info = img.info();
  img.unmountSync();
  return info;
}

/** The tree that a mount shows that writes nothing; link counts as the kernel has them in the records too. */
export async function shown(bytes: Uint8Array): Promise<State> {
  const device = memoryDevice(bytes, { sparse: true });
  const img = mountSync(device, { journal: 'memory', ro: true, cacheBytes: 8 << 20 });
  const state = await dumpTree(syncFace(img));
  img.unmountSync();
  return state;
}

/** The image after a replay. */
export function replayed(bytes: Uint8Array, o: MountOptions = {}): Uint8Array {
  const device = memoryDevice(bytes, { sparse: true });
  replay(device, o);
  return contents(device);
}
