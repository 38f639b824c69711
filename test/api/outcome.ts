// What a call came to, in a form that can be compared: its value with classes and dates made plain, or its error with
// all that Node's errors carry. Paths of the temporary directory are shown as the mount would show them.

import { createHash } from 'node:crypto';
import { types } from 'node:util';

export type Outcome = { value: unknown } | { error: Record<string, unknown> };

const ERROR_FIELDS = ['name', 'code', 'errno', 'syscall', 'path', 'dest', 'message'] as const;

const SHOWN = 200;
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Makes values of a tree at `root` look like those of a mount. */
export function plain(value: unknown, root: string): unknown {
  if (typeof value === 'string') return unroot(value, root);
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Date) return `date ${value.getTime()}`;
  if (value instanceof Uint8Array) {
    const kind = Buffer.isBuffer(value) ? 'buffer' : 'bytes';
    if (value.length > SHOWN) return `${kind} ${value.length} ${sha(value)}`;
    return `${kind} ${unroot(Buffer.from(value).toString('latin1'), root)}`;
  }
  if (Array.isArray(value)) return value.map((one) => plain(one, root));
  if (value === null || typeof value !== 'object') return value;
  if (types.isProxy(value)) return 'proxy';
  const entries = Object.entries(value).map(([key, one]) => [key, plain(one, root)]);
  return { ...Object.fromEntries(entries), ...answers(value) };
}

const QUESTIONS = [
  'isDirectory',
  'isFile',
  'isBlockDevice',
  'isCharacterDevice',
  'isSymbolicLink',
  'isFIFO',
  'isSocket',
] as const;

/** What a Stats or a Dirent says of its type. */
function answers(value: object): Record<string, boolean> {
  const asked = QUESTIONS.filter((name) => name in value);
  return Object.fromEntries(
    asked.map((name) => [name, (value as Record<string, () => boolean>)[name]()]),
  );
}

function unroot(text: string, root: string): string {
  if (root === '') return text;
  return text === root ? '/' : text.replaceAll(root, '');
}

export function failure(error: unknown, root: string): Outcome {
  const given = error as Record<string, unknown>;
  const fields = ERROR_FIELDS.filter((name) => given[name] !== undefined);
  return { error: Object.fromEntries(fields.map((name) => [name, plain(given[name], root)])) };
}

export function attempt(fn: () => unknown, root = ''): Outcome {
  try {
    return { value: plain(fn(), root) };
  } catch (error) {
    return failure(error, root);
  }
}

export async function attemptAsync(fn: () => Promise<unknown>, root = ''): Promise<Outcome> {
  try {
    return { value: plain(await fn(), root) };
  } catch (error) {
    return failure(error, root);
  }
}

/** What a callback was called with; what is thrown at the call counts as an error thrown. */
export function attemptCallback(
  fn: (callback: (...args: unknown[]) => void) => void,
  root = '',
): Promise<Outcome> {
  return new Promise((resolve) => {
    try {
      fn((error, ...values) => {
        if (error instanceof Error) resolve(failure(error, root));
        else resolve({ value: plain([error, ...values], root) });
      });
    } catch (error) {
      resolve({ error: { thrown: true, ...(failure(error, root) as { error: object }).error } });
    }
  });
}
