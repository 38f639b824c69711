// What the platform lends the api floor: Node's Buffer and built-in modules where they are, plain Uint8Array where
// not. Nothing is imported: Node's modules come from process.getBuiltinModule (Node >= 20.16), so that a bundler
// for browsers finds nothing to resolve.

interface NodeProcess {
  umask?(): number;
  getBuiltinModule?(name: string): unknown;
  nextTick?(fn: (...args: never[]) => void, ...args: unknown[]): void;
}

interface FillableBytes extends Uint8Array {
  fill(value: number | Uint8Array): this;
}

interface BufferKind {
  from(bytes: ArrayBufferLike, offset: number, length: number): FillableBytes;
  from(text: string, encoding: string): Uint8Array;
  allocUnsafeSlow(size: number): Uint8Array;
}

const host = globalThis as { process?: NodeProcess; Buffer?: BufferKind };

/** A module of Node by its bare name, or undefined: in browsers, and in Node before 20.16. */
export function builtin<T>(name: string): T | undefined {
  return host.process?.getBuiltinModule?.(`node:${name}`) as T | undefined;
}

const USUAL_UMASK = 0o022;

/** The permission bits that new files do not get. */
export function processUmask(): number {
  return host.process?.umask?.() ?? USUAL_UMASK;
}

/**
 * As `to.set(from, at)`, or undefined outside Node. To and from shared memory V8's set() copies word by word; filling a
 * Buffer with exactly as many bytes as it has copies as memcpy does.
 */
export function bulkCopy(): ((to: Uint8Array, at: number, from: Uint8Array) => void) | undefined {
  const Buffer = builtin<{ Buffer: BufferKind }>('buffer')?.Buffer;
  if (Buffer === undefined) return undefined;
  return (to, at, from) => {
    Buffer.from(to.buffer, to.byteOffset + at, from.length).fill(from);
  };
}

/** `len` bytes to be overwritten: a Buffer in Node. RangeError when the platform refuses. */
export function newBytes(len: number): Uint8Array {
  return host.Buffer ? host.Buffer.allocUnsafeSlow(len) : new Uint8Array(len);
}

/** The same bytes as the platform's users expect them: a Buffer in Node. No copy. */
export function asBytes(bytes: Uint8Array): Uint8Array {
  if (!host.Buffer) return bytes;
  return host.Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes of a text, or undefined where there is no Buffer. TypeError for an encoding that is none. */
export function textBytes(text: string, encoding: string): Uint8Array | undefined {
  return host.Buffer?.from(text, encoding);
}

/** Calls back outside any promise, so that what it throws is an uncaught exception and no rejection. */
export function callLater(fn: (...args: never[]) => void, ...args: unknown[]): void {
  if (host.process?.nextTick) host.process.nextTick(fn, ...args);
  else queueMicrotask(() => fn(...(args as never[])));
}

/** The bytes of any view, from `offset` on. */
export function bytesOf(view: ArrayBufferView, offset = 0, len = view.byteLength - offset) {
  return new Uint8Array(view.buffer, view.byteOffset + offset, len);
}
