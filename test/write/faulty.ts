// What the tests of errors and of lacking room share: a tree in which every operation has something to do, the
// operations, and counts that a mount must never get wrong.

import { expect } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { readGroup } from '../../ts/ext4/group.ts';
import { sumFree } from '../../ts/ext4/groupwrite.ts';
import type { Inode } from '../../ts/ext4/inode.ts';
import { allocRun, MAP_CREDITS } from '../../ts/ext4/mapwrite.ts';
import type { Ext4Volume } from '../../ts/ext4/volume.ts';
import { step } from '../../ts/flow.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import { apply, bytes, treeOf } from './driver.ts';
import { contents, makeImage } from './images.ts';
import { Model, type Op } from './model.ts';

export const SMALL = { args: '-t ext4 -b 1024 -J size=1 -N 512', size: 6 };
export const CACHE = { cacheBytes: 8 << 20 };
const XATTR = 'v'.repeat(500);

export const text = (fs: FileSystem): string => treeOf(fs, { wide: true }).join('\n');

/** What the groups' descriptors say is free. A step. */
export function countFree(vol: Ext4Volume): { clusters: number; inodes: number } {
  const sum = { clusters: 0, inodes: 0 };
  for (let group = 0; group < vol.sb.groups; group++) {
    const { freeClusters, freeInodes } = readGroup(vol, group);
    sum.clusters += freeClusters;
    sum.inodes += freeInodes;
  }
  return sum;
}

/** The descriptors and the mount agree on what is free. */
export function checkFree(fs: FileSystem, where: string): void {
  const { free } = fs.vol;
  if (free !== null) expect(fs.runSync(step(countFree, fs.vol)), where).toEqual(free);
}

/** A tree in which every operation below has something to do. */
export function populate(spec = SMALL): { image: Uint8Array; model: Model } {
  const device = memoryDevice(makeImage(spec), { sparse: true });
  const fs = mountVfsSync(device, CACHE);
  const model = new Model();
  const ops: Op[] = [
    ['mkdir', '/big', 0o755],
    ...Array.from({ length: 60 }, (_, i): Op => ['mknod', `/big/${'n'.repeat(40)}${i}`, 0o100644]),
    ...['/a', '/a/b', '/a/b/c', '/empty', '/x', '/x/y'].map((d): Op => ['mkdir', d, 0o755]),
    ['mknod', '/a/file', 0o100644],
    ['symlink', '/a/slow', 's'.repeat(300)],
    ['setxattr', '/a/file', 'user.big', XATTR, 0],
    ['mknod', '/a/other', 0o100644],
  ];
  for (const op of ops) expect(apply(fs, op) + model.apply(op), `${op}`).toBe('');
  fs.runSync(fs.unmount());
  return { image: contents(device), model };
}

export const OPERATIONS: Op[] = [
  ['mkdir', '/a/b/new', 0o755],
  ['mknod', '/big/one-more-name', 0o100644],
  ['symlink', '/x/y/link', 't'.repeat(200)],
  ['link', '/a/file', '/x/hard'],
  ['unlink', '/a/other'],
  ['unlink', '/a/slow'],
  ['unlink', '/a/file'],
  ['rmdir', '/empty'],
  ['rename', '/a/b', '/x/y/b', 0],
  ['rename', '/a/slow', '/a/other', 0],
  ['rename', '/a', '/x', 2],
  ['chmod', '/a/file', 0o600],
  ['setxattr', '/a/other', 'user.big', XATTR, 0],
  ['setxattr', '/a/other', 'user.small', 'v', 0],
  ['rmxattr', '/a/file', 'user.big'],
];

/** Whether a failed operation may have taken effect all the same: the name is gone in one step, what it named in
 *  others, which the list of orphans remembers. */
export function mayBeHalf(op: Op): boolean {
  return ['unlink', 'rename', 'rmdir'].includes(String(op[0]));
}

/** Without the times that were set. */
export function timeless(model: Model): string {
  const copy = model.clone();
  const visit = (node: Model['root']): void => {
    node.times = null;
    for (const child of node.children.values()) visit(child);
  };
  visit(copy.root);
  return copy.lines().join('\n');
}

/** An image with so many free clusters, or a few less: a file /filler has the others. */
export function leave(image: Uint8Array, wanted: (fs: FileSystem) => number): Uint8Array {
  const device = memoryDevice(image, { sparse: true });
  const fs = mountVfsSync(device, { ...CACHE, dax: 'never' });
  const fd = fs.openSync(bytes('/filler'), 0o102, 0o600);
  const { inode } = fs.file(fd);
  const most = wanted(fs);
  for (let at = 0; ; ) {
    const n = fs.runSync(step(fillStep, inode, at, most));
    if (n === 0) break;
    at += n;
  }
  fs.runSync(fs.unmount());
  return contents(device);
}

/** One handle: takes some of what is free beyond `most` clusters; how many blocks. */
function fillStep(inode: Inode, at: number, most: number): number {
  const { vol } = inode;
  inode.at();
  const extra = sumFree(vol).clusters - most;
  if (extra <= 0) return 0;
  vol.journal!.start(MAP_CREDITS);
  const want = Math.max(1, Math.min(extra - 8, 256)) * vol.sb.clusterBlocks;
  const { count } = allocRun(inode, at, want, false, { reserved: true });
  inode.setSize((at + count) * vol.sb.blockSize);
  inode.setDiskSize(inode.size);
  vol.journal!.stop();
  return count;
}
