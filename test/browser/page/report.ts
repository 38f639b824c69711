// What the checks report, and the little they need to check: comparison, expected errors, SHA-256. Runs in the page and
// in its workers; a check that hangs fails after its time.

export interface Result {
  group: string;
  name: string;
  ok: boolean;
  /** A fact worth showing, or what went wrong. */
  note: string;
  ms: number;
}

export type Check = (name: string, fn: () => unknown) => Promise<void>;

const LIMIT = 60_000;

/** A function that runs one check of a group and emits its result; what the check returns as text is its note. */
export function checker(group: string, emit: (result: Result) => void): Check {
  return async (name, fn) => {
    const from = performance.now();
    let ok = true;
    let note = '';
    try {
      const value = await inTime(fn);
      if (typeof value === 'string') note = value;
    } catch (error) {
      ok = false;
      note = describeError(error);
    }
    emit({ group, name, ok, note, ms: performance.now() - from });
  };
}

async function inTime(fn: () => unknown): Promise<unknown> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${LIMIT} ms`)), LIMIT);
  });
  try {
    return await Promise.race([fn(), late]);
  } finally {
    clearTimeout(timer);
  }
}

export function describeError(error: unknown): string {
  const { name, message, stack } = error as Error;
  const where = stack?.split('\n').slice(1, 4).join(' <- ').replace(/\s+/g, ' ') ?? '';
  return `${name}: ${message} ${where}`;
}

/** Fails unless both are the same as JSON; byte arrays are compared byte by byte. */
export function equal(actual: unknown, expected: unknown, what = ''): void {
  const [a, b] = [actual, expected].map(plain);
  if (a === b) return;
  const at = [...a].findIndex((char, i) => char !== b[i]);
  const near = (text: string) => text.slice(Math.max(0, at - 40), at + 120);
  throw new Error(`${what ? `${what}: ` : ''}${near(a)} instead of ${near(b)}`);
}

function plain(value: unknown): string {
  return value instanceof Uint8Array ? toHex(value) : (JSON.stringify(value) ?? 'undefined');
}

export function truthy(value: unknown, what: string): asserts value {
  if (!value) throw new Error(`not so: ${what}`);
}

/** What `fn` throws or rejects with; fails when it does neither. */
export async function thrown(fn: () => unknown): Promise<Error & Record<string, unknown>> {
  try {
    await fn();
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error('no error came');
}

/** Fails unless `fn` fails with this code; returns the error. */
export async function fails(code: string, fn: () => unknown) {
  const error = await thrown(fn);
  if (error.code !== code) throw new Error(`${code} expected, got ${describeError(error)}`);
  return error;
}

/** SHA-256 in hexadecimal. The bytes are copied first: crypto.subtle takes no shared memory. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest('SHA-256', new Uint8Array(bytes))));
}

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (two) => Number.parseInt(two, 16));
}

/** Text of a path in a manifest, as the library shows it without an encoding. */
export function pathText(hex: string): string {
  return new TextDecoder().decode(fromHex(hex));
}

/** Bytes that several threads may see; where that is not allowed, bytes of one's own. */
export function sharedCopy(bytes: Uint8Array): Uint8Array {
  if (!globalThis.crossOriginIsolated) return new Uint8Array(bytes);
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}
