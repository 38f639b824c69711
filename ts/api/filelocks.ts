// Who writes which file through the web's handles (WHATWG File System, "take a lock"): an exclusive one keeps all
// others off, those of one shared kind go together. Keys are absolute paths without links. One table a mount.

import { domError } from './domerrors.ts';

export type LockKind = 'siloed' | 'exclusive' | 'readwrite' | 'read-only' | 'readwrite-unsafe';

const SHARED: readonly LockKind[] = ['siloed', 'read-only', 'readwrite-unsafe'];

export class FileLocks {
  readonly #held = new Map<string, { kind: LockKind; count: number }>();

  /** NoModificationAllowedError where another's does not allow it. */
  take(path: string, kind: LockKind): void {
    const held = this.#held.get(path);
    if (held === undefined) this.#held.set(path, { kind, count: 1 });
    else if (held.kind === kind && SHARED.includes(kind)) held.count++;
    else throw domError('NoModificationAllowedError');
  }

  release(path: string): void {
    const held = this.#held.get(path);
    if (held !== undefined && --held.count === 0) this.#held.delete(path);
  }

  /** NoModificationAllowedError when the file, or one below the directory, is locked. */
  checkFree(path: string): void {
    for (const held of this.#held.keys())
      if (held === path || held.startsWith(`${path}/`))
        throw domError('NoModificationAllowedError');
  }
}
