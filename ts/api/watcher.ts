// watch(): reports changes that came through this mount. A read-only mount has none, so its watchers are open, can be
// closed and never fire; nothing keeps the process alive for them.

import type { FileSystem } from '../vfs/filesystem.ts';
import { Emitter } from './emitter.ts';
import { readOptions } from './encoding.ts';
import { aborted } from './invalid.ts';
import { toPath } from './paths.ts';
import { callLater } from './platform.ts';
import { ask, run, runSync } from './work.ts';

interface WatchOptions {
  encoding?: string | null;
  signal?: AbortSignal;
  persistent?: boolean;
  recursive?: boolean;
}

type Changed = (event: 'rename' | 'change', name: string | Uint8Array | null) => void;

export interface Change {
  eventType: 'rename' | 'change';
  filename: string | Uint8Array | null;
}

export class FSWatcher extends Emitter {
  #closed = false;

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    callLater(() => this.emit('close'));
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

/** fs.watch: ENOENT when there is nothing to watch, thrown where the mount is synchronous, else emitted. */
export function watch(
  vfs: FileSystem,
  path: unknown,
  options?: unknown,
  listener?: Changed,
): FSWatcher {
  if (typeof options === 'function') listener = options as Changed;
  const { signal } = readOptions<WatchOptions>(options, {});
  const at = toPath(path);
  const looked = ask(vfs.resolve(at.given, true), 'watch', at.text);
  const watcher = new FSWatcher();
  if (vfs.sync) runSync(vfs, looked);
  else run(vfs, looked).catch((error) => watcher.emit('error', error));
  if (listener) watcher.on('change', listener as (...args: unknown[]) => void);
  if (signal?.aborted) watcher.close();
  else signal?.addEventListener('abort', () => watcher.close(), { once: true });
  return watcher;
}

/** fs.promises.watch: waits for changes until the signal aborts, then throws its AbortError. */
export async function* watchAll(
  vfs: FileSystem,
  path: unknown,
  options?: unknown,
): AsyncGenerator<Change, void, undefined> {
  const { signal } = readOptions<WatchOptions>(options, {});
  const at = toPath(path);
  if (signal?.aborted) throw aborted(signal);
  await run(vfs, ask(vfs.resolve(at.given, true), 'watch', at.text));
  await new Promise<void>((_, reject) => {
    signal?.addEventListener('abort', () => reject(aborted(signal)), { once: true });
  });
}
