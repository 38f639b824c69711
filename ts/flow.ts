// The vocabulary of steps and flows (ARCHITECTURE, D1). A step is plain code that never waits. A flow is a
// generator for long work: it yields steps and device I/O to whoever drives it (vfs/turn.ts), and keeps only
// keys across a yield: no pointer, mapping or inode field. Lies under every floor.

import type { BlockDevice, ReadRange, WriteOptions } from './block/device.ts';
import { Ext4Error } from './errno.ts';

/** Runs `fn(a, b, c)` as one step: all or nothing, run again when something was missing. */
export interface StepRequest {
  readonly op: 'step';
  readonly fn: (a: never, b: never, c: never) => unknown;
  readonly a: unknown;
  readonly b: unknown;
  readonly c: unknown;
  /** An error comes back as the result instead of being thrown out of the flow. */
  readonly soft?: boolean;
}

/** Device I/O; settles before the flow goes on. An error is thrown out of the flow, which never catches it. */
export type IoRequest =
  | { readonly op: 'read'; readonly device: BlockDevice; readonly ranges: ReadRange[] }
  | {
      readonly op: 'write';
      readonly device: BlockDevice;
      readonly from: Uint8Array;
      readonly dpos: number;
      readonly o?: WriteOptions;
    }
  | {
      readonly op: 'writev';
      readonly device: BlockDevice;
      readonly parts: Uint8Array[];
      readonly dpos: number;
      /** As of a step. */
      readonly soft?: boolean;
    }
  | {
      readonly op: 'discard';
      readonly device: BlockDevice;
      readonly dpos: number;
      readonly len: number;
      readonly soft?: boolean;
    }
  | { readonly op: 'flush'; readonly device: BlockDevice };

/** Waits until the running transaction is durable ('commit'), or also home as far as can be ('space'). */
export interface LogRequest {
  readonly op: 'commit' | 'space';
}

/** Takes the turns of inodes until the flow ends; 0 is the tree's own. Nothing on a synchronous mount. */
export interface LockRequest {
  readonly op: 'lock';
  readonly inos: number[];
}

/** Has a file's dirty data written, or every file's (0): nothing of it is in flight afterwards. Comes back with the
 *  first error. */
export interface WriteBackRequest {
  readonly op: 'writeback';
  readonly ino: number;
}

/** From now until the flow ends nobody writes back data of this inode, whose turn the flow has; none is in flight. */
export interface FreezeRequest {
  readonly op: 'freeze';
  readonly ino: number;
}

export type Request =
  | StepRequest
  | IoRequest
  | LogRequest
  | LockRequest
  | WriteBackRequest
  | FreezeRequest;

// biome-ignore lint/suspicious/noExplicitAny: what comes back depends on the request; step() gives it its type
export type Flow<T> = Generator<Request, T, any>;

/** `const r = yield* step(fn, a, b)`: one step inside a flow. */
export function* step<R, A = undefined, B = undefined, C = undefined>(
  fn: (a: A, b: B, c: C) => R,
  a?: A,
  b?: B,
  c?: C,
): Flow<R> {
  return (yield { op: 'step', fn: fn as StepRequest['fn'], a, b, c }) as R;
}

/** As step(), but an Ext4Error comes back instead of being thrown: for work that must go on, such as writeback. */
export function* attempt<R, A = undefined, B = undefined, C = undefined>(
  fn: (a: A, b: B, c: C) => R,
  a?: A,
  b?: B,
  c?: C,
): Flow<R | Ext4Error> {
  return (yield { op: 'step', fn: fn as StepRequest['fn'], a, b, c, soft: true }) as R | Ext4Error;
}

/** As writevDevice(), but an error comes back instead of being thrown. */
export function* attemptWrite(
  device: BlockDevice,
  parts: Uint8Array[],
  dpos: number,
): Flow<Ext4Error | undefined> {
  return (yield { op: 'writev', device, parts, dpos, soft: true }) as Ext4Error | undefined;
}

/** Tells the device that a range is free; an error comes back. EOPNOTSUPP where it cannot be told. */
export function* attemptDiscard(
  device: BlockDevice,
  dpos: number,
  len: number,
): Flow<Ext4Error | undefined> {
  return (yield { op: 'discard', device, dpos, len, soft: true }) as Ext4Error | undefined;
}

/** `yield* writeBackFile(ino)`: its dirty data is on the device and its mapping says so; not yet durable. 0: every
 *  file's. The first error is thrown. */
export function* writeBackFile(ino: number): Flow<void> {
  const error = (yield { op: 'writeback', ino }) as Ext4Error | undefined;
  if (error !== undefined) throw error;
}

/** `yield* freeze(ino)`, after lock(): its blocks may be freed or moved from here on. */
export function* freeze(ino: number): Flow<void> {
  yield { op: 'freeze', ino };
}

/** `yield* commit()`: what handles have closed so far is durable afterwards. Nothing on a read-only mount. */
export function* commit(): Flow<void> {
  yield { op: 'commit' };
}

/** `yield* lock(inos)`: nobody else changes these inodes until this flow ends. Once a flow, all at a time. */
export function* lock(...inos: number[]): Flow<void> {
  yield { op: 'lock', inos };
}

/** `yield* writeBack()`: a commit, and its blocks home. */
export function* writeBack(): Flow<void> {
  yield { op: 'space' };
}

/** `yield* readDevice(device, ranges)`: all ranges, in one call where the device can. */
export function* readDevice(device: BlockDevice, ranges: ReadRange[]): Flow<void> {
  yield { op: 'read', device, ranges };
}

export function* writeDevice(
  device: BlockDevice,
  from: Uint8Array,
  dpos: number,
  o?: WriteOptions,
): Flow<void> {
  yield { op: 'write', device, from, dpos, o };
}

/** `yield* writevDevice(device, parts, dpos)`: the parts one behind the other, in one call where the device can. */
export function* writevDevice(device: BlockDevice, parts: Uint8Array[], dpos: number): Flow<void> {
  if (parts.length === 1) yield { op: 'write', device, from: parts[0], dpos };
  else if (parts.length > 1) yield { op: 'writev', device, parts, dpos };
}

export function* flushDevice(device: BlockDevice): Flow<void> {
  yield { op: 'flush', device };
}

/** Serves one I/O request on a synchronous device. */
export function serveSync(r: IoRequest): void {
  const d = r.device;
  if (r.op === 'flush') d.flushSync!();
  else if (r.op === 'discard') discardSync(d, r.dpos, r.len);
  else if (r.op === 'write') d.writeSync!(r.from, r.dpos, r.o);
  else if (r.op === 'writev') writevSync(d, r.parts, r.dpos);
  else if (r.ranges.length > 1 && d.readvSync) d.readvSync(r.ranges);
  else for (const { into, dpos } of r.ranges) d.readSync!(into, dpos);
}

/** Serves one I/O request on any device. */
export async function serve(r: IoRequest): Promise<void> {
  const d = r.device;
  if (r.op === 'flush') await d.flush();
  else if (r.op === 'discard') await discard(d, r.dpos, r.len);
  else if (r.op === 'write') await d.write(r.from, r.dpos, r.o);
  else if (r.op === 'writev') await writev(d, r.parts, r.dpos);
  else if (r.ranges.length > 1 && d.readv) await d.readv(r.ranges);
  else await Promise.all(r.ranges.map(({ into, dpos }) => d.read(into, dpos)));
}

function discardSync(d: BlockDevice, dpos: number, len: number): void {
  if (d.discardSync === undefined) throw new Ext4Error('EOPNOTSUPP', 'the device has no discard');
  d.discardSync(dpos, len);
}

async function discard(d: BlockDevice, dpos: number, len: number): Promise<void> {
  if (d.discard === undefined) throw new Ext4Error('EOPNOTSUPP', 'the device has no discard');
  await d.discard(dpos, len);
}

function writevSync(d: BlockDevice, parts: Uint8Array[], dpos: number): void {
  if (d.writevSync) return d.writevSync(parts, dpos);
  let at = dpos;
  for (const part of parts) {
    d.writeSync!(part, at);
    at += part.length;
  }
}

async function writev(d: BlockDevice, parts: Uint8Array[], dpos: number): Promise<void> {
  if (d.writev) return d.writev(parts, dpos);
  let at = dpos;
  const writes: Promise<void>[] = [];
  for (const part of parts) {
    writes.push(d.write(part, at));
    at += part.length;
  }
  await Promise.all(writes);
}
