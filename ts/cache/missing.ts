// The one signal with which a step says that it cannot go on yet. It is preallocated, carries what is missing,
// and only the driver (vfs/turn.ts) catches it: it undoes the step, supplies, and runs the step again.

import type { FileFolios } from './folio.ts';

/** What must happen first: a commit, room in the log, or dirty data written so that memory is free. */
export type WaitKind = 'commit' | 'space' | 'writeback';
export type MissingKind = 'none' | 'blocks' | 'folios' | WaitKind;

export interface FolioRange {
  file: FileFolios;
  lblk: number;
  /** Blocks that the step needs, and blocks worth fetching with them. */
  count: number;
  ahead: number;
  /** One folio for all of it, however large, when memory allows. */
  whole?: boolean;
}

export class Missing {
  kind: MissingKind = 'none';
  readonly blocks: number[] = [];
  readonly folios: FolioRange[] = [];

  /** Names a block that must be in the cache; `throw missing` follows once all are named. */
  block(pblk: number): this {
    this.kind = 'blocks';
    this.blocks.push(pblk);
    return this;
  }

  folio(range: FolioRange): this {
    this.kind = 'folios';
    this.folios.push(range);
    return this;
  }

  /** Names what must happen first. */
  wait(kind: WaitKind): this {
    this.kind = kind;
    return this;
  }

  /** What is missing, handed over to the driver; the signal is empty again. */
  take(): { kind: MissingKind; blocks: number[]; folios: FolioRange[] } {
    const taken = {
      kind: this.kind,
      blocks: this.blocks.splice(0),
      folios: this.folios.splice(0),
    };
    this.kind = 'none';
    return taken;
  }
}

export const missing = new Missing();
