// What an inode's blocks add up to while its map is walked: counts for i_blocks and i_size, claims on clusters, and
// for a directory the list of its blocks. The same walk serves later passes with another sink.

import type { Record } from './record.ts';
import type { Volume } from './volume.ts';

/** What a walk over a map tells: each run of data, each block of the map itself. */
export interface Sink {
  data(lblk: number, len: number, pblk: number, unwritten: boolean): void;
  node(pblk: number): void;
}

/** Blocks of a directory at most: entries of a larger one cannot be told by an index. */
export const DIR_BLOCKS_MAX = 2 ** 28 - 1;

export class Claims implements Sink {
  readonly vol: Volume;
  ino = 0;
  isDir = false;
  /** Blocks that count for i_blocks, whole clusters. */
  blocks = 0;
  /** One behind the last mapped block; one behind the last that is written. */
  end = 0;
  endWritten = 0;
  /** Data runs, for the next one to touch. */
  misaligned = false;
  /** A written or unwritten block was claimed that others have too. */
  duplicate = false;
  holes = 0;
  /** Where block 0 lies; 0 when it has no place. */
  first = 0;
  #lastCluster = -1;
  #lastLogical = -1;

  constructor(vol: Volume) {
    this.vol = vol;
  }

  begin(record: Record, isDir: boolean): void {
    this.ino = record.ino;
    this.isDir = isDir;
    this.blocks = 0;
    this.end = 0;
    this.endWritten = 0;
    this.misaligned = false;
    this.duplicate = false;
    this.holes = 0;
    this.first = 0;
    this.#lastCluster = -1;
    this.#lastLogical = -1;
  }

  data(lblk: number, len: number, pblk: number, unwritten: boolean): void {
    if (lblk === 0) this.first = pblk;
    if (this.isDir) this.#dirRun(lblk, len, pblk);
    if (this.vol.sb.clusterBlocks === 1) {
      this.blocks += len;
      if (this.vol.used.addRange(pblk - this.vol.sb.firstDataBlock, len)) this.#clash(pblk, len);
    } else this.#clusters(lblk, len, pblk);
    if (lblk + len > this.end) this.end = lblk + len;
    if (!unwritten && lblk + len > this.endWritten) this.endWritten = lblk + len;
  }

  node(pblk: number): void {
    this.blocks += this.vol.sb.clusterBlocks;
    if (this.vol.claim(pblk, 1)) this.#clash(pblk, 1);
  }

  /** Clusters of a run; the first may be the last one of the run before it. */
  #clusters(lblk: number, len: number, pblk: number): void {
    const { vol } = this;
    const per = vol.sb.clusterBlocks;
    let first = vol.cluster(pblk);
    const last = vol.cluster(pblk + len - 1);
    if ((pblk - vol.sb.firstDataBlock) % per !== lblk % per) this.misaligned = true;
    const logical = Math.floor(lblk / per);
    if (logical === this.#lastLogical) {
      if (first === this.#lastCluster) first++;
      else this.misaligned = true;
    }
    this.#lastCluster = last;
    this.#lastLogical = Math.floor((lblk + len - 1) / per);
    if (first > last) return;
    this.blocks += (last - first + 1) * per;
    if (vol.used.addRange(first, last - first + 1)) {
      this.#clash(vol.sb.firstDataBlock + first * per, (last - first + 1) * per);
    }
  }

  /** Some of the clusters were claimed before: by whom is found out later, which is not known now. */
  #clash(pblk: number, len: number): void {
    this.duplicate = true;
    const { vol } = this;
    const first = vol.cluster(pblk);
    vol.shared.addRange(first, vol.cluster(pblk + len - 1) - first + 1);
  }

  #dirRun(lblk: number, len: number, pblk: number): void {
    const { dirBlocks } = this.vol;
    if (lblk > this.end) this.holes += lblk - this.end;
    for (let i = 0; i < len && this.vol.mayList(this.ino); i++) {
      dirBlocks.ino.push(this.ino);
      dirBlocks.lblk.push(lblk + i);
      dirBlocks.pblk.push(pblk + i);
    }
  }
}
