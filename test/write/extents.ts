// Changes of maps done in steps as a caller does them, each along with the model of the map; and what a step that fails
// must leave as it was.

import { expect } from 'vitest';
import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../../ts/errno.ts';
import { CONVERT_CREDITS, convertBlocks, splitNeeds } from '../../ts/ext4/extentchange.ts';
import { shiftStep, startShift } from '../../ts/ext4/extentshift.ts';
import { sumFree } from '../../ts/ext4/groupwrite.ts';
import { allocRun, MAP_CREDITS, punchBlocksStep } from '../../ts/ext4/mapwrite.ts';
import { step } from '../../ts/flow.ts';
import { change, debugfs, e2fsck, type Model, type Mounted, mountImage } from '../ext4/mapimage.ts';

/** Converts what of [lblk, lblk + count) is mapped, run by run, in steps as a caller would. */
export function convert(model: Model, lblk: number, count: number, written: boolean): void {
  const { fs, inode, blocks } = model;
  for (let at = lblk; at < lblk + count; at++) {
    if (!blocks.has(at)) continue;
    let end = at;
    while (end < lblk + count && blocks.has(end)) end++;
    const needs = fs.runSync(step(() => splitNeeds(inode, at, end - at, written)));
    const before = sectors(model);
    while (at < end) {
      const done = change(fs, CONVERT_CREDITS, () => convertBlocks(inode, at, end - at, written));
      expect(done).toBeGreaterThan(0);
      expect(done).toBeLessThanOrEqual(end - at);
      for (let i = at; i < at + done; i++) blocks.get(i)!.unwritten = !written;
      at += done;
    }
    if (!needs) expect(sectors(model)).toBeLessThanOrEqual(before);
  }
}

export function finish(m: Mounted, ...models: Model[]): Uint8Array {
  for (const model of models) expect(model.compare(m.fs)).toBe('');
  m.fs.runSync(m.fs.unmount());
  const bytes = m.contents();
  expect(e2fsck(bytes)).toBe('');
  const again = mountImage(new Uint8Array(bytes), { ro: true });
  for (const model of models) expect(model.compare(again.fs)).toBe('');
  again.fs.runSync(again.fs.unmount());
  return bytes;
}

/** The extents of /f0 as debugfs shows them. */
export function shown(bytes: Uint8Array): [lblk: number, len: number, unwritten: boolean][] {
  const found: [number, number, boolean][] = [];
  for (const line of debugfs(bytes, 'ex /f0').split('\n')) {
    const m = /^\s*(\d+)\/\s*(\d+)\s+\d+\/\s*\d+\s+(\d+) -\s+(\d+)\s+\d+ -\s+\d+\s+(\d+)(.*)$/.exec(
      line,
    );
    if (m && m[1] === m[2]) found.push([Number(m[3]), Number(m[5]), m[6].includes('Uninit')]);
  }
  return found;
}

/** Punches [from, to) in steps, each of which leaves a sound tree; returns how many. */
export function punch(model: Model, from: number, to: number): number {
  const { fs, inode, blocks } = model;
  let steps = 1;
  while (fs.runSync(step(punchBlocksStep, inode, from, to))) steps++;
  for (const lblk of [...blocks.keys()]) if (lblk >= from && lblk < to) blocks.delete(lblk);
  return steps;
}

/** Allocates at the first hole at or behind `lblk`, as much of `want` as the hole has. */
export function alloc(model: Model, lblk: number, want: number, unwritten: boolean): void {
  const { fs, inode, blocks } = model;
  while (blocks.has(lblk)) lblk++;
  let room = 1;
  while (room < want && !blocks.has(lblk + room)) room++;
  for (let done = 0; done < room; ) {
    const at = lblk + done;
    const run = change(fs, MAP_CREDITS + 1, () => {
      const got = allocRun(inode, at, room - done, unwritten);
      model.grow(at + got.count);
      return got;
    });
    expect(run.count).toBeGreaterThan(0);
    expect(run.count).toBeLessThanOrEqual(room - done);
    for (let i = 0; i < run.count; i++) blocks.set(at + i, { pblk: run.pblk + i, unwritten });
    done += run.count;
  }
}

/** Moves what lies at or behind `from` by `delta` blocks, in steps; the size is at every step what fsck accepts. */
export function shift(model: Model, from: number, delta: number): number {
  const { fs, inode, blocks } = model;
  const grow = () => inode.setSize(inode.size + delta * fs.vol.sb.blockSize);
  if (delta > 0) change(fs, 1, grow);
  let steps = 0;
  for (let at = startShift({ from, delta }); at >= 0; steps++) {
    at = fs.runSync(step(shiftStep, inode, { from, delta }, at));
  }
  if (delta < 0) change(fs, 1, grow);
  const moved = [...blocks].map(([lblk, to]) => [lblk < from ? lblk : lblk + delta, to] as const);
  blocks.clear();
  for (const [lblk, to] of moved) blocks.set(lblk, to);
  return steps;
}

export function collapse(model: Model, from: number, to: number): number {
  return punch(model, from, to) + shift(model, to, from - to);
}

/** Sectors that the inode says it has. */
export function sectors({ fs, inode }: Model): number {
  return fs.runSync(step(() => inode.u32(F.I_BLOCKS_LO)));
}

/** Sectors that a file of these blocks has, without its nodes: whole clusters. */
export function sectorsOf(model: Model): number {
  const { clusterBlocks, blockSize } = model.fs.vol.sb;
  const clusters = new Set(
    [...model.blocks.keys()].map((lblk) => Math.floor(lblk / clusterBlocks)),
  );
  return clusters.size * clusterBlocks * (blockSize / 512);
}

/** Everything that a step could change: blocks in the cache, counts, promises, what the transaction holds. */
export function everything({ fs }: Mounted): Map<string, string> {
  const { vol } = fs;
  const { cache, journal } = vol;
  const all = new Map<string, string>();
  const note = (name: string, value: unknown) => all.set(name, JSON.stringify(value));
  note('free', fs.runSync(step(sumFree, vol)));
  note('reserved', vol.reserved);
  for (const [pblk, buffer] of cache.buffers) {
    if (buffer.uptodate) all.set(`${pblk}`, Buffer.from(cache.bytes(buffer)).toString('base64'));
  }
  note(
    'pending',
    [...vol.pending].map(([group, p]) => [group, p.runs.length]),
  );
  note('held', journal!.running?.buffers.size ?? 0);
  note('dirty', [...vol.dirtyGroups.keys()]);
  note('pins', cache.pinCount());
  return all;
}

/** What of `after` differs in what `before` knows: blocks that were read since are no change. */
export function differences(before: Map<string, string>, after: Map<string, string>): string[] {
  return [...before.keys()].filter((key) => after.get(key) !== before.get(key));
}

/** Does something whose first handle cannot stop: that fails with all its changes made, and nothing is left of
 *  them. What needs no handle changes nothing anyway. */
export function failAtStop(m: Mounted, run: () => unknown): void {
  const journal = m.fs.vol.journal!;
  const before = everything(m);
  let reached = 0;
  journal.stop = () => {
    reached++;
    throw new Ext4Error('EIO');
  };
  let code = '';
  try {
    run();
  } catch (error) {
    if (!(error instanceof Ext4Error)) throw error;
    code = error.code;
  } finally {
    Reflect.deleteProperty(journal, 'stop');
  }
  expect([reached, code]).toEqual(reached === 0 ? [0, ''] : [1, 'EIO']);
  expect(differences(before, everything(m))).toEqual([]);
}
