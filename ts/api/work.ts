// An operation of the api is written once, as work: a generator that asks the core for one flow after another and may
// catch what an asked flow throws. Here it gets its three forms, synchronous, callback and promise, and here
// errors of the core get their syscall and paths. Arguments are checked when the work is begun, before anything runs.

import { Ext4Error } from '../errno.ts';
import type { DirCursor } from '../ext4/dir.ts';
import type { Flow } from '../flow.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import type { Lease } from '../vfs/lease.ts';
import type { Path } from './paths.ts';
import { callLater } from './platform.ts';
import { checkFunction } from './validate.ts';

export type Form = 'sync' | 'callback' | 'promise';

/** One flow, and how an error of it is to be named. */
export interface Ask {
  readonly flow: Flow<unknown>;
  readonly syscall: string;
  readonly path?: string;
  readonly dest?: string;
}

/** Something of the user's that takes its time: a filter's answer, the next piece of a stream. */
export interface Wait {
  readonly wait: unknown;
}

// biome-ignore lint/suspicious/noExplicitAny: what comes back depends on the flow; ask() gives it its type
export type Work<T> = Generator<Ask | Wait, T, any>;

/** What an operation works on. The makers are handed down, so that handles may use operations. */
export interface Call {
  readonly vfs: FileSystem;
  readonly form: Form;
  readonly makeHandle: (fd: number) => object;
  readonly makeDir: (dir: OpenDir) => object;
  readonly makeLease: (lease: Lease) => object;
}

/** An opened directory, before it is dressed as a Dir. */
export interface OpenDir {
  readonly cursor: DirCursor;
  readonly path: Path;
  readonly encoding?: string | null;
  readonly recursive: boolean;
}

export interface Operation {
  /** Arguments before the callback: Function.length of the promise and synchronous forms. */
  readonly arity: number;
  /** Checks the arguments and returns the work, which does nothing until run. */
  // biome-ignore lint/suspicious/noExplicitAny: users pass anything; begin checks
  begin(call: Call, ...args: any[]): Work<unknown>;
  /** Names of the two results that a callback gets apart and a promise as one object. */
  readonly names?: readonly [string, string];
  /** What Node calls the callback in its errors, when not `cb`. */
  readonly callback?: string;
  /** The callback may be left out: errors are thrown later. */
  readonly mayDrop?: boolean;
}

/** `const r = yield* ask(flow, 'open', path)`: one flow inside work. */
export function* ask<T>(flow: Flow<T>, syscall: string, path?: string, dest?: string): Work<T> {
  return (yield { flow, syscall, path, dest }) as T;
}

/** `const r = yield* wait(promise)`: what the user gave, settled. Only in work of the promise form. */
export function* wait<T>(given: unknown): Work<T> {
  return (yield { wait: given }) as T;
}

/** Adds syscall and paths to an error of the core; anything else passes as it is. */
export function nameError(error: unknown, asked: Omit<Ask, 'flow'>): unknown {
  if (!(error instanceof Ext4Error) || error.syscall !== undefined) return error;
  error.at(asked.syscall, asked.path, asked.dest);
  // The head of a stack is fixed when it is captured; where in the core a bad image was met stays.
  if (error.detail === undefined) Error.captureStackTrace?.(error, nameError);
  return error;
}

/** Runs work to its end inside the call. */
export function runSync<T>(vfs: FileSystem, work: Work<T>): T {
  let r = work.next();
  while (!r.done) {
    const asked = r.value;
    let value: unknown;
    try {
      value = 'wait' in asked ? asked.wait : vfs.runSync(asked.flow);
    } catch (error) {
      r = work.throw(named(error, asked));
      continue;
    }
    r = work.next(value);
  }
  return r.value;
}

/** Runs work; on a synchronous mount it is done when this returns, unless the user's own part takes time. */
export async function run<T>(vfs: FileSystem, work: Work<T>): Promise<T> {
  let r = work.next();
  while (!r.done) {
    const asked = r.value;
    let value: unknown;
    try {
      if ('wait' in asked) value = await asked.wait;
      else value = vfs.immediate ? vfs.runSync(asked.flow) : await vfs.run(asked.flow);
    } catch (error) {
      r = work.throw(named(error, asked));
      continue;
    }
    r = work.next(value);
  }
  return r.value;
}

function named(error: unknown, asked: Ask | Wait): unknown {
  return 'wait' in asked ? error : nameError(error, asked);
}

type AnyFunction = (...args: unknown[]) => unknown;

/** Gives a generated function the name and length that Node's has. */
export function shaped<T extends (...args: never[]) => unknown>(
  fn: T,
  name: string,
  length: number,
): T {
  Object.defineProperty(fn, 'name', { value: name, configurable: true });
  Object.defineProperty(fn, 'length', { value: length, configurable: true });
  return fn;
}

export function syncForm(call: Call, name: string, op: Operation): AnyFunction {
  const fn = (...args: unknown[]) => runSync(call.vfs, op.begin(call, ...args));
  return shaped(fn, `${name}Sync`, op.arity);
}

export function promiseForm(call: Call, name: string, op: Operation): AnyFunction {
  const fn = async (...args: unknown[]) => run(call.vfs, op.begin(call, ...args));
  return shaped(fn, name, op.arity);
}

/** The callback is the last function among the arguments. Its own errors are nobody's but the process's. */
export function callbackForm(call: Call, name: string, op: Operation): AnyFunction {
  const fn = (...args: unknown[]) => {
    const at = lastFunction(args);
    const callback = at < 0 && op.mayDrop ? rethrow : args[at < 0 ? op.arity : at];
    const work = op.begin(call, ...(at < 0 ? args : args.slice(0, at)));
    checkFunction(callback, op.callback ?? 'cb');
    deliver(run(call.vfs, work), callback as AnyFunction, op.names);
  };
  shaped(fn, name, op.arity + 1);
  if (op.names) promisified(fn, promiseForm(call, name, op));
  return fn;
}

/** The form of a name that node:fs does not have: with a callback as above, without one a promise. */
export function eitherForm(callback: AnyFunction, promise: AnyFunction): AnyFunction {
  const fn = (...args: unknown[]) => (lastFunction(args) < 0 ? promise : callback)(...args);
  return shaped(fn, promise.name, promise.length);
}

/** What util.promisify turns a function into. */
export function promisified(fn: AnyFunction, promise: AnyFunction): void {
  Object.defineProperty(fn, Symbol.for('nodejs.util.promisify.custom'), { value: promise });
}

function lastFunction(args: unknown[]): number {
  let at = args.length - 1;
  while (at >= 0 && typeof args[at] !== 'function') at--;
  return at;
}

function rethrow(error: unknown): void {
  if (error !== null && error !== undefined) throw error;
}

function deliver(result: Promise<unknown>, callback: AnyFunction, names?: readonly string[]): void {
  result.then(
    (value) => {
      if (value === undefined) callLater(callback, null);
      else if (names === undefined) callLater(callback, null, value);
      else
        callLater(callback, null, ...names.map((key) => (value as Record<string, unknown>)[key]));
    },
    (error) => callLater(callback, error),
  );
}
