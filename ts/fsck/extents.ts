// Extent trees, judged node by node: header, order, bounds, places on the device, checksum. A node that cannot be
// believed is cut out of its parent, an extent that cannot be out of its leaf; what remains is told to a sink. Every
// tree is walked with a limit: no node twice in one inode, and not without end over trees that inodes share.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import type { Sink } from './claim.ts';
import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

const MAX_LBLK = 2 ** 32 - 1;
const ENTRY = F.EXT4_EXT_ENTRY_SIZE;
/** Entries that a node may have less than fit into it. */
const SPARE_ENTRIES = 2;

interface Index {
  lblk: number;
  pblk: number;
}

export class ExtentWalk {
  readonly #vol: Volume;
  readonly #record: Record;
  readonly #sink: Sink;
  readonly #seed: number;
  readonly #isDir: boolean;
  readonly #seen = new Set<number>();
  /** False: only walk, judge nothing (a pass has judged before). */
  readonly #judge: boolean;
  /** Blocks from here on are cut off. */
  readonly #limit: number;
  #next = 0;

  constructor(
    vol: Volume,
    record: Record,
    sink: Sink,
    isDir: boolean,
    judge = true,
    limit = MAX_LBLK,
  ) {
    this.#limit = limit;
    this.#vol = vol;
    this.#record = record;
    this.#sink = sink;
    this.#isDir = isDir;
    this.#judge = judge;
    this.#seed = vol.sums.on ? record.seed : 0;
  }

  /** Walks the tree of the record. */
  *run(): Flow<void> {
    const { ino } = this.#record;
    const root = this.#record.ptr + F.I_BLOCK;
    const depth = this.#vol.disk.dv.getUint16(root + F.EH_DEPTH, true);
    const fault = this.#headerFault(root, F.I_BLOCK_SIZE, true);
    if (fault !== '') {
      if (this.#report('extent-root', { ino }, `inode ${ino}: ${fault} at the root of the extents`))
        this.#emptyRoot(root);
      return;
    }
    if (depth === 0) {
      if (this.#leaf(root, 0, MAX_LBLK)) this.#record.dirty = true;
      return;
    }
    const kept = yield* this.#children(root, 0, depth, 0, MAX_LBLK);
    if (kept === null) return;
    if (kept.length === 0) this.#emptyRoot(root);
    else this.#putIndex(root, kept);
    this.#record.dirty = true;
  }

  #report(code: string, where: { ino: number; block?: number }, text: string): boolean {
    return this.#judge && this.#vol.report.report(code, where, text);
  }

  #emptyRoot(root: number): void {
    const { dv, kernels } = this.#vol.disk;
    kernels.exports.zero(root, F.I_BLOCK_SIZE);
    dv.setUint16(root + F.EH_MAGIC, F.EXT4_EXT_MAGIC, true);
    dv.setUint16(root + F.EH_MAX, (F.I_BLOCK_SIZE - F.EH_SIZE) / ENTRY, true);
    this.#record.dirty = true;
  }

  /** What is wrong with a header; '' when nothing is. */
  #headerFault(node: number, bytes: number, root: boolean): string {
    const { dv } = this.#vol.disk;
    if (dv.getUint16(node + F.EH_MAGIC, true) !== F.EXT4_EXT_MAGIC) return 'no magic number';
    const found = dv.getUint16(node + F.EH_DEPTH, true);
    if (root && found > F.EXT4_EXT_MAX_DEPTH) return `depth ${found}`;
    const max = dv.getUint16(node + F.EH_MAX, true);
    const entries = dv.getUint16(node + F.EH_ENTRIES, true);
    const room = Math.floor((bytes - F.EH_SIZE) / ENTRY);
    if (max > room || max < room - SPARE_ENTRIES) return `room for ${max} entries`;
    if (entries > max) return `${entries} entries of ${max}`;
    return '';
  }

  /** Walks the children of an index node. The entries that are left, when some had to go or to change; else null. */
  *#children(
    node: number,
    block: number,
    depth: number,
    first: number,
    end: number,
  ): Flow<Index[] | null> {
    const entries = this.#index(node);
    const kept: Index[] = [];
    let changed = false;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i];
      const next = i + 1 < entries.length ? entries[i + 1].lblk : end;
      const sound = this.#indexSound(entry, block, Math.max(first, this.#next), end);
      const child = sound
        ? yield* this.#child(entry, depth - 1, Math.max(next, entry.lblk))
        : false;
      if (child === false) {
        changed = true;
        continue;
      }
      if (child !== entry.lblk) changed = true;
      kept.push({ lblk: child, pblk: entry.pblk });
    }
    return changed && this.#vol.report.mode !== 'check' && this.#judge ? kept : null;
  }

  #index(node: number): Index[] {
    const { dv } = this.#vol.disk;
    const count = dv.getUint16(node + F.EH_ENTRIES, true);
    return Array.from({ length: count }, (_, i) => {
      const at = node + F.EH_SIZE + i * ENTRY;
      const high = dv.getUint16(at + F.EI_LEAF_HI, true);
      return {
        lblk: dv.getUint32(at + F.EI_BLOCK, true),
        pblk: high * 2 ** 32 + dv.getUint32(at + F.EI_LEAF_LO, true),
      };
    });
  }

  #putIndex(node: number, entries: Index[]): void {
    const { dv } = this.#vol.disk;
    dv.setUint16(node + F.EH_ENTRIES, entries.length, true);
    entries.forEach(({ lblk, pblk }, i) => {
      const at = node + F.EH_SIZE + i * ENTRY;
      dv.setUint32(at + F.EI_BLOCK, lblk, true);
      dv.setUint32(at + F.EI_LEAF_LO, pblk % 2 ** 32, true);
      dv.setUint16(at + F.EI_LEAF_HI, Math.floor(pblk / 2 ** 32), true);
      dv.setUint16(at + F.EI_UNUSED, 0, true);
    });
  }

  /** False when the entry is to be cut off. */
  #indexSound(entry: Index, block: number, first: number, end: number): boolean {
    const { ino } = this.#record;
    const vol = this.#vol;
    const where = { ino, block: entry.pblk };
    if (!vol.inFs(entry.pblk) || !vol.disk.has(entry.pblk)) {
      this.#report('extent-index', where, `inode ${ino}: an index names block ${entry.pblk}`);
      return false;
    }
    if (entry.lblk < first || entry.lblk >= end) {
      const text = `inode ${ino}: an index in block ${block} is out of order at ${entry.lblk}`;
      this.#report('extent-index-order', where, text);
      return false;
    }
    if (this.#seen.has(entry.pblk)) {
      this.#report('extent-index', where, `inode ${ino}: block ${entry.pblk} is in the tree twice`);
      return false;
    }
    this.#seen.add(entry.pblk);
    return true;
  }

  /** Walks one child. The first logical block that the index should name for it, or false to cut it off. */
  *#child(entry: Index, depth: number, end: number): Flow<number | false> {
    const { disk, sums } = this.#vol;
    const { ino } = this.#record;
    const where = { ino, block: entry.pblk };
    if (!this.#vol.mayVisit(ino)) return entry.lblk;
    let ptr = yield* disk.get(entry.pblk);
    const fault = this.#headerFault(ptr, disk.blockSize, false);
    const deep = disk.dv.getUint16(ptr + F.EH_DEPTH, true);
    const entries = disk.dv.getUint16(ptr + F.EH_ENTRIES, true);
    const wrong = fault || (entries === 0 ? 'no entries' : '');
    if (wrong !== '') {
      this.#report('extent-node', where, `inode ${ino}: ${wrong} in extent block ${entry.pblk}`);
      return false;
    }
    let mendDepth = false;
    if (deep !== depth) {
      const text = `inode ${ino}: extent block ${entry.pblk} has depth ${deep}, not ${depth}`;
      mendDepth = this.#report('extent-depth', where, text);
      if (mendDepth) disk.dv.setUint16(ptr + F.EH_DEPTH, depth, true);
    }
    const summed = !sums.on || !this.#judge || this.#isSummed(ptr);
    let first = disk.dv.getUint32(ptr + F.EH_SIZE, true);
    if (first !== entry.lblk) {
      const text = `inode ${ino}: extent block ${entry.pblk} begins at ${first}, not ${entry.lblk}`;
      if (!this.#report('extent-index-start', where, text)) first = entry.lblk;
    }
    this.#sink.node(entry.pblk);
    let changed: boolean;
    if (depth === 0) changed = this.#leaf(ptr, Math.min(first, entry.lblk), end);
    else {
      const kept = yield* this.#children(ptr, entry.pblk, depth, Math.min(first, entry.lblk), end);
      changed = kept !== null;
      ptr = yield* disk.get(entry.pblk);
      if (kept !== null) this.#putIndex(ptr, kept);
    }
    if (mendDepth) changed = true;
    if (!summed) {
      const text = `inode ${ino}: the checksum of extent block ${entry.pblk} is wrong`;
      if (this.#report('extent-checksum', where, text)) changed = true;
    }
    if (!changed) return first;
    if (sums.on) this.#seal(ptr);
    yield* disk.write(entry.pblk, ptr);
    const left = disk.dv.getUint16(ptr + F.EH_ENTRIES, true);
    return left === 0 ? false : disk.dv.getUint32(ptr + F.EH_SIZE, true);
  }

  /** Walks the extents of a leaf, cutting out what cannot be. True when the leaf changed. */
  #leaf(node: number, first: number, end: number): boolean {
    const { dv } = this.#vol.disk;
    let count = dv.getUint16(node + F.EH_ENTRIES, true);
    let changed = false;
    this.#next = Math.max(this.#next, first);
    for (let i = 0; i < count; ) {
      const at = node + F.EH_SIZE + i * ENTRY;
      const lblk = dv.getUint32(at + F.EE_BLOCK, true);
      const raw = dv.getUint16(at + F.EE_LEN, true);
      const unwritten = raw > F.EXT_INIT_MAX_LEN;
      const len = unwritten ? raw - F.EXT_INIT_MAX_LEN : raw;
      const high = dv.getUint16(at + F.EE_START_HI, true);
      const pblk = high * 2 ** 32 + dv.getUint32(at + F.EE_START_LO, true);
      const beyond = lblk + len - Math.max(lblk, this.#limit);
      if (beyond > 0 && this.#limit < MAX_LBLK) {
        changed = true;
        if (beyond < len) dv.setUint16(at + F.EE_LEN, raw - beyond, true);
        else {
          count = this.#cut(node, i, count);
          continue;
        }
        i++;
      } else if (this.#extentSound(lblk, len, pblk, end)) {
        this.#next = lblk + len;
        if (unwritten && this.#isDir && this.#markWritten(at, len)) changed = true;
        this.#sink.data(lblk, len, pblk, unwritten && !this.#isDir);
        i++;
      } else if (this.#vol.report.mode === 'all' && this.#judge) {
        count = this.#cut(node, i, count);
        changed = true;
      } else i++;
    }
    return changed;
  }

  #extentSound(lblk: number, len: number, pblk: number, end: number): boolean {
    const vol = this.#vol;
    const { ino } = this.#record;
    const fits = len > 0 && vol.inFs(pblk) && pblk + len <= vol.sb.blocks;
    if (fits && lblk >= this.#next && lblk + len <= end) return true;
    const text = `inode ${ino}: extent ${lblk}+${len} at block ${pblk}`;
    if (!fits) this.#report('extent', { ino, block: pblk }, `${text} is invalid`);
    else this.#report('extent-order', { ino, block: pblk }, `${text} is out of order`);
    return false;
  }

  #markWritten(at: number, len: number): boolean {
    const { ino } = this.#record;
    const text = `directory ${ino}: an extent is marked unwritten`;
    if (!this.#report('dir-unwritten', { ino }, text)) return false;
    this.#vol.disk.dv.setUint16(at + F.EE_LEN, len, true);
    return true;
  }

  /** Takes entry `i` out of a node; the count that is left. */
  #cut(node: number, i: number, count: number): number {
    const { disk } = this.#vol;
    const at = node + F.EH_SIZE + i * ENTRY;
    const rest = disk.u8.slice(at + ENTRY, node + F.EH_SIZE + count * ENTRY);
    disk.u8.set(rest, at);
    disk.kernels.exports.zero(at + rest.length, ENTRY);
    disk.dv.setUint16(node + F.EH_ENTRIES, count - 1, true);
    return count - 1;
  }

  #tail(node: number): number {
    return F.EH_SIZE + this.#vol.disk.dv.getUint16(node + F.EH_MAX, true) * ENTRY;
  }

  #isSummed(node: number): boolean {
    const { disk, sums } = this.#vol;
    const tail = this.#tail(node);
    if (tail + 4 > disk.blockSize) return false;
    return sums.run(this.#seed, node, tail) === disk.dv.getUint32(node + tail, true);
  }

  #seal(node: number): void {
    const { disk, sums } = this.#vol;
    const tail = this.#tail(node);
    if (tail + 4 <= disk.blockSize)
      disk.dv.setUint32(node + tail, sums.run(this.#seed, node, tail), true);
  }
}
