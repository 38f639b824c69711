// Work that turns wait for: commits and checkpoints, and writeback of file data. One of each kind runs at a time, later
// askers queue up. Ranks: writeback may wait for a commit, never the other way round. A failed commit aborts the
// journal; failed writeback is the file's error, told at its next fsync.

import type { Cache } from '../cache/cache.ts';
import type { WaitKind } from '../cache/missing.ts';
import { Ext4Error } from '../errno.ts';
import type { MultiMount } from '../ext4/mmp.ts';
import type { Flow } from '../flow.ts';
import { checkpointFlow } from '../jbd2/checkpoint.ts';
import { commitFlow } from '../jbd2/commit.ts';
import type { Journal } from '../jbd2/journal.ts';
import { writeErrno } from '../jbd2/start.ts';

/** What an aborted journal says of itself. */
const EIO = 5;

type Drive = <T>(flow: Flow<T>) => T;
type DriveAsync = <T>(flow: Flow<T>) => Promise<T>;
/** Writes back one file, or with 0 all of them, and comes back with the first error. */
export type WriteBack = (ino: number) => Flow<Ext4Error | undefined>;

export class Background {
  /** A data write that fails aborts the journal too. */
  dataErrAbort = false;
  /** Set on a read-write mount. */
  journal: Journal | null = null;
  writeBackFlow: WriteBack | null = null;
  /** What keeps other mounts out; null without mmp. */
  mmp: MultiMount | null = null;
  readonly #drive: Drive;
  readonly #driveAsync: DriveAsync;
  #logWork: Promise<unknown> = Promise.resolve();
  #dataWork: Promise<unknown> = Promise.resolve();
  readonly #cache: Cache;

  constructor(cache: Cache, drive: Drive, driveAsync: DriveAsync) {
    this.#cache = cache;
    this.#drive = drive;
    this.#driveAsync = driveAsync;
  }

  // ---- synchronous

  logSync(op: 'commit' | 'space'): void {
    if (this.journal === null || this.journal.held) return;
    this.beatSync();
    this.#guardSync(() => this.#drive(commitFlow(this.journal!)));
    if (op === 'space') this.#guardSync(() => this.#drive(checkpointFlow(this.journal!)));
  }

  /** Counts up in the multi-mount block when it is time. EBUSY when another mount took the file system. */
  beatSync(): void {
    const { mmp, journal } = this;
    if (mmp?.due && journal!.aborted === null) this.#guardSync(() => this.#drive(mmp.beat()));
  }

  writeBackSync(ino: number): Ext4Error | undefined {
    if (this.writeBackFlow === null || this.journal?.held) return undefined;
    this.beatSync();
    const error = this.#drive(this.writeBackFlow(ino));
    if (this.#isFatal(error)) this.failSync(error);
    return error;
  }

  #isFatal(error: Ext4Error | undefined): boolean {
    return this.dataErrAbort && error?.code === 'EIO' && this.journal!.aborted === null;
  }

  supplySync(kind: WaitKind): void {
    if (kind !== 'writeback') return this.logSync(kind);
    const before = this.#cache.cleaned;
    this.writeBackSync(0);
    this.#checkProgress(before);
  }

  /** A step that asks for memory again and again must end. */
  #checkProgress(before: number): void {
    if (this.#cache.cleaned > before) return;
    throw new Ext4Error('ENOMEM', 'all of the cache is pinned or dirty');
  }

  #guardSync(work: () => unknown): void {
    checkAborted(this.journal!);
    try {
      work();
    } catch (error) {
      this.failSync(error);
      throw error;
    }
  }

  /** Aborts the journal, and leaves word for the next mount. */
  failSync(error: unknown): void {
    const { area } = this.journal!;
    this.#abort(error);
    try {
      if (area !== null && !this.#isLost()) this.#drive(writeErrno(area, -EIO));
    } catch {
      // the device that failed may fail this too: the mount is read-only all the same
    }
  }

  // ---- asynchronous

  async log(op: 'commit' | 'space'): Promise<void> {
    if (this.journal === null || this.journal.held) return;
    await this.beat();
    await this.#enqueueLog(() => this.#driveAsync(commitFlow(this.journal!)));
    if (op === 'space')
      await this.#enqueueLog(() => this.#driveAsync(checkpointFlow(this.journal!)));
  }

  /** As beatSync(). */
  async beat(): Promise<void> {
    const { mmp, journal } = this;
    if (mmp?.due && journal!.aborted === null)
      await this.#enqueueLog(() => this.#driveAsync(mmp.beat()));
  }

  writeBack(ino: number): Promise<Ext4Error | undefined> {
    const flow = this.writeBackFlow;
    if (flow === null || this.journal?.held) return Promise.resolve(undefined);
    const done = this.#dataWork.then(async () => {
      await this.beat();
      const error = await this.#driveAsync(flow(ino));
      if (this.#isFatal(error)) await this.fail(error);
      return error;
    });
    this.#dataWork = done.catch(() => {});
    return done;
  }

  /** Settles when no writeback that runs now, or is in line, is left. */
  async drained(): Promise<void> {
    await this.#dataWork;
  }

  async supply(kind: WaitKind): Promise<void> {
    if (kind !== 'writeback') return this.log(kind);
    const before = this.#cache.cleaned;
    await this.writeBack(0);
    this.#checkProgress(before);
  }

  #enqueueLog(work: () => Promise<unknown>): Promise<void> {
    const done = this.#logWork.then(async () => {
      checkAborted(this.journal!);
      try {
        await work();
      } catch (error) {
        await this.#abandon(error);
        throw error;
      }
    });
    this.#logWork = done.catch(() => {});
    return done;
  }

  /** As failSync(), at once, and the word when no commit runs. */
  fail(error: unknown): Promise<void> {
    this.#abort(error);
    this.#logWork = this.#logWork.then(() => this.#abandon(error));
    return this.#logWork as Promise<void>;
  }

  async #abandon(error: unknown): Promise<void> {
    const { area } = this.journal!;
    this.#abort(error);
    if (area === null || this.#isLost()) return;
    await this.#driveAsync(writeErrno(area, -EIO)).catch(() => {});
  }

  /** The file system is another mount's: nothing is written, not even why. */
  #isLost(): boolean {
    return this.mmp?.ended === true;
  }

  #abort(error: unknown): void {
    this.journal!.abort(error instanceof Ext4Error ? error.code : 'EIO');
  }
}

function checkAborted(journal: Journal): void {
  if (journal.aborted !== null) throw new Ext4Error('EROFS', 'the journal has aborted');
}
