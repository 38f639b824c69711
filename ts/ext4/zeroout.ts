// When data is on the device and the unwritten extent around it cannot be split, because there is no block left for
// a node: the rest of the extent is zeroed on the device, and all of it becomes written, which takes no room. Only
// within the size: written blocks behind it would be wrong. Called by writeback, which nothing else of the file
// runs beside.

import { attempt, attemptWrite, type Flow, step } from '../flow.ts';
import { CONVERT_CREDITS, convertBlocks } from './extentchange.ts';
import { extentAt, findPath, type Level, nodePtr } from './extentwrite.ts';
import type { Inode } from './inode.ts';

/** Bytes of zeroes written at a time. */
const PIECE = 1 << 20;

/** Blocks of a file whose data is on the device. */
export interface Placed {
  lblk: number;
  count: number;
}

/** An extent, and the parts of it that hold no data. */
interface Plan {
  lblk: number;
  pblk: number;
  count: number;
  gaps: Placed[];
}

/** Makes the extents over `io` written whole; blocks of `data` are left as they are. False when that cannot be: then
 *  nothing of the map has changed. */
export function* zeroOut(inode: Inode, io: Placed, data: Placed[]): Flow<boolean> {
  for (let at = io.lblk; at < io.lblk + io.count; ) {
    const plan = yield* step(planStep, inode, at, data);
    if (plan === null || !(yield* zeroGaps(inode, plan))) return false;
    const done = yield* attempt(writtenStep, inode, plan);
    if (done instanceof Error) return false;
    at = plan.lblk + plan.count;
  }
  return true;
}

/** What becomes of the extent over a block, which is mapped; null when it goes on behind the end of the file. */
function planStep(inode: Inode, at: number, data: Placed[]): Plan | null {
  inode.at();
  const leaf = findPath(inode, at).at(-1) as Level;
  const { lblk, len, pblk, unwritten } = extentAt(inode, nodePtr(inode, leaf), leaf.at);
  if (!unwritten) return { lblk, pblk, count: len, gaps: [] };
  const end = lblk + len;
  if (end > Math.ceil(inode.size / inode.vol.sb.blockSize)) return null;
  const gaps: Placed[] = [];
  let from = lblk;
  for (const d of [...data].sort((a, b) => a.lblk - b.lblk)) {
    if (d.lblk >= end || d.lblk + d.count <= from) continue;
    if (d.lblk > from) gaps.push({ lblk: from, count: d.lblk - from });
    from = d.lblk + d.count;
  }
  if (from < end) gaps.push({ lblk: from, count: end - from });
  return { lblk, pblk, count: len, gaps };
}

function* zeroGaps(inode: Inode, { lblk, pblk, gaps }: Plan): Flow<boolean> {
  const { device, sb } = inode.vol;
  const zeroes = new Uint8Array(PIECE);
  const most = PIECE / sb.blockSize;
  for (const gap of gaps) {
    for (let done = 0; done < gap.count; done += most) {
      const n = Math.min(most, gap.count - done);
      const dpos = (pblk + gap.lblk - lblk + done) * sb.blockSize;
      const part = zeroes.subarray(0, n * sb.blockSize);
      if ((yield* attemptWrite(device, [part], dpos)) !== undefined) return false;
    }
  }
  return true;
}

function writtenStep(inode: Inode, { lblk, count }: Plan): void {
  inode.at();
  inode.vol.journal!.start(CONVERT_CREDITS);
  for (let done = 0; done < count; ) {
    done += convertBlocks(inode, lblk + done, count - done, true);
  }
  inode.vol.journal!.stop();
}
