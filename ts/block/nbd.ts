// A block device served elsewhere by the NBD protocol (qemu-nbd, nbdkit, Ceph's rbd-nbd, …): fixed newstyle negotiation
// without TLS, simple replies, asynchronous, many requests in flight on one connection. A lost connection makes all
// requests fail with EIO, now and later. NBD's flush covers what had been answered before: the contract's words.
// Written from the protocol's description, doc/proto.md of NetworkBlockDevice/nbd.

import { connect, type Socket } from 'node:net';
import { type ErrorCode, Ext4Error } from '../errno.ts';
import { BaseDevice, joinParts, settleAll, totalLength } from './base.ts';
import type { BlockDevice, DeviceOptions, ReadRange, WriteOptions } from './device.ts';
import { Intake } from './intake.ts';
import { type Export, negotiate } from './nbdhandshake.ts';

export type NbdOptions = (
  | { socket: string; host?: undefined; port?: undefined }
  | { socket?: undefined; host: string; port?: number }
) & {
  /** The export's name; the server's default when left out. */
  export?: string;
  readOnly?: boolean;
  /** Aborts connecting. */
  signal?: AbortSignal;
};

const DEFAULT_PORT = 10809;
const REQUEST_MAGIC = 0x25609513;
const REPLY_MAGIC = 0x67446698;
const REQUEST_SIZE = 28;
const REPLY_SIZE = 16;
const CMD_READ = 0;
const CMD_WRITE = 1;
const CMD_DISC = 2;
const CMD_FLUSH = 3;
const CMD_TRIM = 4;
const CMD_FLAG_FUA = 1;
const MAX_TRIM = 2 ** 30;

/** NBD's error numbers, which are Linux's. */
const ERRORS: Record<number, ErrorCode> = {
  1: 'EPERM',
  5: 'EIO',
  12: 'ENOMEM',
  22: 'EINVAL',
  28: 'ENOSPC',
  75: 'EOVERFLOW',
  95: 'ENOTSUP',
  108: 'EIO', // the server is shutting down
};

interface Pending {
  command: number;
  /** Where a read goes; what was aborted goes nowhere. */
  into: Uint8Array | null;
  len: number;
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * Connects to an export. ENOENT when the server has none of that name, EACCES when it refuses or wants TLS, ENOTSUP
 * when it does not speak fixed newstyle, EIO when there is no connection.
 */
export async function nbdDevice(o: NbdOptions): Promise<BlockDevice> {
  const where = o.socket ?? `nbd://${o.host}:${o.port ?? DEFAULT_PORT}/${o.export ?? ''}`;
  const socket = o.socket
    ? connect({ path: o.socket })
    : connect({ host: o.host ?? 'localhost', port: o.port ?? DEFAULT_PORT, noDelay: true });
  const abort = () => socket.destroy(o.signal?.reason);
  try {
    o.signal?.throwIfAborted();
    o.signal?.addEventListener('abort', abort);
    const intake = new Intake(socket);
    const found = await negotiate(socket, intake, o.export ?? '');
    return new NbdDevice(found, socket, intake, o.readOnly ?? false);
  } catch (error) {
    socket.destroy();
    o.signal?.throwIfAborted();
    const known = error instanceof Ext4Error;
    throw (known ? error : new Ext4Error('EIO', (error as Error).message)).at('open', where);
  } finally {
    o.signal?.removeEventListener('abort', abort);
  }
}

class NbdDevice extends BaseDevice implements BlockDevice {
  readonly fua: boolean;
  readonly discardZeroes = false;
  readonly discard?: BlockDevice['discard'];
  readonly #socket: Socket;
  readonly #export: Export;
  readonly #pending = new Map<number, Pending>();
  readonly #running = new Set<Promise<void>>();
  #cookie = 0;
  #broken: Error | null = null;

  constructor(found: Export, socket: Socket, intake: Intake, readOnly: boolean) {
    const { size, blockSize } = found;
    super({ size: size - (size % blockSize), blockSize, readOnly: readOnly || found.readOnly });
    this.fua = found.canFua;
    this.#export = found;
    this.#socket = socket;
    if (found.canTrim) this.discard = (dpos, len) => this.#discard(dpos, len);
    this.#receive(intake).catch((error) => this.#break(error));
  }

  async read(into: Uint8Array, dpos: number, o?: DeviceOptions): Promise<void> {
    await this.readv([{ into, dpos }], o);
  }

  async readv(ranges: ReadRange[], o?: DeviceOptions): Promise<void> {
    o?.signal?.throwIfAborted();
    for (const { into, dpos } of ranges) this.checkRead(dpos, into.length);
    const { signal } = o ?? {};
    const cookies: number[] = [];
    const abort = () => {
      for (const cookie of cookies) this.#forget(cookie, signal?.reason);
    };
    signal?.addEventListener('abort', abort);
    try {
      await settleAll(
        ranges.flatMap(({ into, dpos }) =>
          this.#pieces(into.length).map(([from, to]) => {
            const place = { into: into.subarray(from, to), len: to - from, dpos: dpos + from };
            const running = this.#ask(CMD_READ, place);
            cookies.push(this.#cookie);
            return running;
          }),
        ),
      );
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  async write(from: Uint8Array, dpos: number, o?: WriteOptions): Promise<void> {
    this.checkWrite(dpos, from.length);
    const flags = o?.fua && this.fua ? CMD_FLAG_FUA : 0;
    await settleAll(
      this.#pieces(from.length).map(([start, end]) => {
        const data = from.subarray(start, end);
        return this.#ask(CMD_WRITE, { len: end - start, dpos: dpos + start, data, flags });
      }),
    );
    if (o?.fua && !this.fua) await this.#flush();
  }

  async writev(parts: Uint8Array[], dpos: number): Promise<void> {
    this.checkWrite(dpos, totalLength(parts));
    await this.write(joinParts(parts), dpos);
  }

  async flush(): Promise<void> {
    this.checkOpen();
    if (!this.readOnly) await this.#flush();
  }

  /** Waits for requests in flight, then takes leave of the server. */
  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await Promise.allSettled(this.#running);
    if (this.#broken) return;
    const gone = new Promise((resolve) => this.#socket.once('close', resolve));
    this.#socket.end(request(CMD_DISC, 0, 0, 0, 0), () => this.#socket.destroy());
    await gone;
  }

  /** A server that has no flush command keeps no cache. */
  async #flush(): Promise<void> {
    if (this.#export.canFlush) await this.#ask(CMD_FLUSH, { len: 0, dpos: 0 });
  }

  async #discard(dpos: number, len: number): Promise<void> {
    this.checkWrite(dpos, len);
    for (let done = 0; done < len; done += MAX_TRIM) {
      const part = Math.min(MAX_TRIM, len - done);
      await this.#ask(CMD_TRIM, { len: part, dpos: dpos + done });
    }
  }

  /** [from, to) within a request, none longer than the server takes. */
  #pieces(len: number): [number, number][] {
    const pieces: [number, number][] = [];
    for (let from = 0; from < len; from += this.#export.maxBytes) {
      pieces.push([from, Math.min(len, from + this.#export.maxBytes)]);
    }
    return pieces;
  }

  #ask(
    command: number,
    o: { len: number; dpos: number; into?: Uint8Array; data?: Uint8Array; flags?: number },
  ): Promise<void> {
    this.#cookie = (this.#cookie + 1) % 2 ** 32;
    const cookie = this.#cookie;
    const running = new Promise<void>((resolve, reject) => {
      if (this.#broken) throw this.#broken;
      const { into = null, len } = o;
      this.#pending.set(cookie, { command, into, len, resolve, reject });
      this.#socket.cork();
      this.#socket.write(request(command, o.flags ?? 0, cookie, o.dpos, len));
      if (o.data) this.#socket.write(o.data);
      this.#socket.uncork();
    });
    this.#running.add(running);
    const done = () => void this.#running.delete(running);
    running.then(done, done);
    return running;
  }

  /** The caller waits no longer: the answer, when it comes, goes nowhere. */
  #forget(cookie: number, reason: unknown): void {
    const pending = this.#pending.get(cookie);
    if (pending === undefined) return;
    pending.into = null;
    pending.reject(reason);
  }

  async #receive(intake: Intake): Promise<void> {
    const header = new Uint8Array(REPLY_SIZE);
    const view = new DataView(header.buffer);
    for (;;) {
      await intake.fill(header);
      if (view.getUint32(0) !== REPLY_MAGIC) throw new Error('the server sent no reply header');
      const pending = this.#pending.get(view.getUint32(12));
      if (pending === undefined) throw new Error('the server answered what was not asked');
      const error = view.getUint32(4);
      if (pending.command === CMD_READ && error === 0) {
        await intake.take(pending.len, (bytes, at) => pending.into?.set(bytes, at));
      }
      this.#pending.delete(view.getUint32(12));
      if (error === 0) pending.resolve();
      else pending.reject(new Ext4Error(ERRORS[error] ?? 'EIO', `NBD server error ${error}`));
    }
  }

  #break(error: Error): void {
    this.#broken = new Ext4Error('EIO', `NBD connection: ${error.message}`);
    for (const pending of this.#pending.values()) pending.reject(this.#broken);
    this.#pending.clear();
    this.#socket.destroy();
  }
}

function request(
  command: number,
  flags: number,
  cookie: number,
  dpos: number,
  len: number,
): Uint8Array {
  const bytes = new Uint8Array(REQUEST_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, REQUEST_MAGIC);
  view.setUint16(4, flags);
  view.setUint16(6, command);
  view.setUint32(12, cookie);
  view.setUint32(16, Math.floor(dpos / 2 ** 32));
  view.setUint32(20, dpos % 2 ** 32);
  view.setUint32(24, len);
  return bytes;
}
