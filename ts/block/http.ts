// A file on a web server as a device, by range requests: read-only, asynchronous. The first request is a range request
// and tells the size; HEAD, Accept-Ranges and Content-Length are not relied on. The file must stay the same: ETag (or
// Last-Modified) and size are compared with every response. If-Range would say the same, but browsers ask the
// server's permission for that header first, which many servers refuse.
//
// The unit was chosen by counting a cold mount and read of one file out of 10,000 (4 GiB image by Linux, htree): super
// and descriptors, root inode, root directory, the directory's inode, index, leaf, inode, data: 8 requests. They lie
// megabytes apart, so units of 32, 64 and 128 KiB make 8 requests all the same, of 256, 512 and 1,152 KiB.

import { type ErrorCode, Ext4Error } from '../errno.ts';
import { checkBlockSize, wholeBlocks } from './base.ts';
import { RangeDevice, type RangeOptions, rangeOptions } from './ranges.ts';

export interface HttpOptions extends RangeOptions {
  headers?: Record<string, string>;
  /** Used instead of the global fetch: to sign requests, to count them. */
  fetch?: typeof fetch;
  /** Aborts opening, and later every request. */
  signal?: AbortSignal;
  /** Milliseconds without a byte after which a request has failed; 30,000 by default. */
  timeout?: number;
  /** How often a request is made anew after a network error, 429 or 5xx; 2 by default. */
  retries?: number;
  /** Bytes, 512 by default. */
  blockSize?: number;
}

const RETRIABLE = new Set([408, 429, 500, 502, 503, 504]);
const RETRY_DELAY = 250; // milliseconds, doubled each time

/** What every response is compared with. */
interface Pin {
  size: number;
  validator: string;
}

interface Source {
  url: string;
  name: string;
  o: HttpOptions;
}

interface Reply {
  bytes: Uint8Array;
  pin: Pin;
}

/**
 * Opens the file at `url`. Fails with ENOENT (404, 410), EACCES (401, 403), ENOTSUP (no range requests, compressed,
 * size hidden), EINVAL (empty), EIO (network, 5xx, short body); a file that changes later makes reads fail with
 * ESTALE.
 */
export async function httpDevice(url: string | URL, o: HttpOptions = {}): Promise<RangeDevice> {
  const blockSize = checkBlockSize(o.blockSize);
  const ranges = rangeOptions(o, {}, blockSize);
  const source = { url: String(url), name: shown(url), o };
  try {
    const first = await request(source, 0, ranges.unit, null, o.signal);
    const size = wholeBlocks(first.pin.size, blockSize);
    const fetch = async (from: number, to: number, signal: AbortSignal) =>
      (await request(source, from, to, first.pin, signal)).bytes;
    const device = new RangeDevice({ size, blockSize }, fetch, ranges);
    device.adopt(0, first.bytes);
    device.counts.requests = 1;
    device.counts.bytes = first.bytes.length;
    return device;
  } catch (error) {
    throw error instanceof Ext4Error ? error.at('open', source.name) : error;
  }
}

/** The address without name, password and query, which may be secret. */
function shown(url: string | URL): string {
  try {
    const { origin, pathname } = new URL(url);
    return origin + pathname;
  } catch {
    throw new Ext4Error('EINVAL', 'not a URL').at('open', String(url));
  }
}

/** The bytes [from, to), tried as often as allowed. */
async function request(
  source: Source,
  from: number,
  to: number,
  pin: Pin | null,
  signal?: AbortSignal,
): Promise<Reply> {
  const retries = source.o.retries ?? 2;
  for (let attempt = 0; ; attempt++) {
    try {
      return await attemptRequest(source, from, to, pin, signal);
    } catch (error) {
      signal?.throwIfAborted();
      source.o.signal?.throwIfAborted();
      if (!(error instanceof Transient)) throw error;
      if (attempt >= retries) throw new Ext4Error('EIO', `${source.name}: ${error.message}`);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY * 2 ** attempt));
  }
}

/** A failure that may be gone the next time. */
class Transient extends Error {}

async function attemptRequest(
  source: Source,
  from: number,
  to: number,
  pin: Pin | null,
  signal?: AbortSignal,
): Promise<Reply> {
  const watch = new Watchdog(source.o.timeout ?? 30_000, [signal, source.o.signal]);
  try {
    const response = await send(source, from, to, watch.signal);
    const range = checkResponse(source, response, from, to, pin);
    const bytes = await body(response, range.to - from, watch);
    return { bytes, pin: range };
  } catch (error) {
    if (error instanceof Ext4Error || error instanceof Transient) throw error;
    throw new Transient(watch.expired ? 'no answer in time' : networkText(error));
  } finally {
    watch.stop();
  }
}

function networkText(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

/** no-store: Chrome lets requests for one URL wait for each other's place in its cache. */
function send(source: Source, from: number, to: number, signal: AbortSignal): Promise<Response> {
  const { fetch = globalThis.fetch, headers } = source.o;
  return fetch(source.url, {
    headers: { 'Accept-Encoding': 'identity', ...headers, Range: `bytes=${from}-${to - 1}` },
    cache: 'no-store',
    signal,
  });
}

/** What the response promises, when that is the range that was asked for. Throws what is wrong with it. */
function checkResponse(
  source: Source,
  response: Response,
  from: number,
  to: number,
  pin: Pin | null,
): Pin & { to: number } {
  const fail = (code: ErrorCode, why: string) => new Ext4Error(code, `${source.name}: ${why}`);
  const validator = validatorOf(response);
  if (response.status !== 206) throw statusError(source, response, pin, validator);
  const encoding = response.headers.get('content-encoding') ?? 'identity';
  if (encoding !== 'identity') throw fail('ENOTSUP', `the server compresses it (${encoding})`);
  const text = response.headers.get('content-range');
  if (text === null) {
    throw fail('ENOTSUP', 'no Content-Range; a cross-origin server must expose it (CORS)');
  }
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/i.exec(text.trim()) ?? [];
  if (total === undefined) throw fail('ENOTSUP', `Content-Range '${text}' does not tell the size`);
  const size = Number(total);
  if (!Number.isSafeInteger(size)) throw fail('EINVAL', `a size of ${total} bytes`);
  if (pin && (size !== pin.size || differs(validator, pin.validator))) {
    throw fail('ESTALE', 'the file has changed on the server');
  }
  const end = Math.min(to, size);
  if (Number(first) !== from || Number(last) + 1 !== end) {
    throw fail('EIO', `asked for bytes ${from}-${end - 1}, got '${text}'`);
  }
  return { size, validator, to: end };
}

function validatorOf(response: Response): string {
  return response.headers.get('etag') ?? response.headers.get('last-modified') ?? '';
}

/** Validators count only where both responses have one. */
function differs(a: string, b: string): boolean {
  return a !== '' && b !== '' && a !== b;
}

function statusError(
  source: Source,
  response: Response,
  pin: Pin | null,
  validator: string,
): Error {
  const { status, statusText } = response;
  const what = `${source.name}: HTTP ${status}${statusText ? ` ${statusText}` : ''}`;
  if (RETRIABLE.has(status)) return new Transient(`HTTP ${status} ${statusText}`.trim());
  if (status === 404 || status === 410) return new Ext4Error('ENOENT', what);
  if (status === 401 || status === 403) return new Ext4Error('EACCES', what);
  if (status === 416) {
    return pin
      ? new Ext4Error('ESTALE', `${source.name}: the file has become shorter on the server`)
      : new Ext4Error('EINVAL', `${what}: the file is empty`);
  }
  if (status === 200) {
    const changed = pin !== null && differs(validator, pin.validator);
    return changed
      ? new Ext4Error('ESTALE', `${source.name}: the file has changed on the server`)
      : new Ext4Error('ENOTSUP', `${what}: the server does not serve ranges`);
  }
  return new Ext4Error('EIO', what);
}

/** Exactly `len` bytes of body; a server that sends more is cut off. */
async function body(response: Response, len: number, watch: Watchdog): Promise<Uint8Array> {
  const bytes = new Uint8Array(len);
  let done = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const chunk = await reader?.read();
    watch.kick();
    if (chunk?.value === undefined) break;
    if (done + chunk.value.length > len) throw new Transient(`body of more than ${len} bytes`);
    bytes.set(chunk.value, done);
    done += chunk.value.length;
  }
  if (done < len) throw new Transient(`body ended after ${done} of ${len} bytes`);
  return bytes;
}

/** Aborts when nothing has come for a while, or when one of the signals says so. */
class Watchdog {
  expired = false;
  readonly #abort = new AbortController();
  readonly #signals: AbortSignal[];
  readonly #limit: number;
  readonly #pass = (event: Event) => this.#abort.abort((event.target as AbortSignal).reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limit: number, signals: (AbortSignal | undefined)[]) {
    this.#limit = limit;
    this.#signals = signals.filter((signal) => signal !== undefined);
    for (const signal of this.#signals) {
      if (signal.aborted) this.#abort.abort(signal.reason);
      signal.addEventListener('abort', this.#pass);
    }
    this.kick();
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Something has come. */
  kick(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#abort.abort(new Error('no answer in time'));
    }, this.#limit);
  }

  /** The request is over; what is left of a body is not wanted. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#abort.abort();
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#pass);
  }
}
