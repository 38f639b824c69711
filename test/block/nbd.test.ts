// NBD devices. Goal: the contract against qemu-nbd; refusals, errors and lost connections as clear errors. Method:
// qemu-nbd on a Unix socket and on TCP; for what qemu does not do, a few lines of server that say what they are told.

import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Intake } from '../../ts/block/intake.ts';
import { nbdDevice } from '../../ts/block/nbd.ts';
import { deviceContract, expectCode, pattern } from '../contract/device.ts';
import { need } from '../need.ts';

let dir = '';
let count = 0;
beforeAll(() => void (dir = fs.mkdtempSync(join(tmpdir(), 'ext4-nbd-'))));
afterAll(() => fs.rmSync(dir, { recursive: true }));

need.describe('nbd with qemu', [need.tool('qemu-nbd')], () => {
  const servers = new Set<ChildProcess>();
  afterEach(() => {
    for (const server of servers) server.kill();
    servers.clear();
  });

  /** A server of these bytes; the address to connect to, and the file. */
  async function serve(contents: Uint8Array, ...args: string[]) {
    const file = join(dir, `disk-${count++}`);
    const socket = `${file}.sock`;
    fs.writeFileSync(file, contents);
    const server = spawn('qemu-nbd', ['-f', 'raw', '-t', '-k', socket, ...args, file]);
    servers.add(server);
    for (let i = 0; i < 500 && !listens(socket); i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { socket, file, server };
  }

  deviceContract('nbd', {
    make: async (contents, { readOnly }) => {
      const { socket } = await serve(contents, '--discard=unmap');
      return nbdDevice({ socket, readOnly });
    },
    sync: false,
    writable: 'choice',
  });

  deviceContract('nbd, exported read-only', {
    make: async (contents) => nbdDevice({ socket: (await serve(contents, '-r')).socket }),
    sync: false,
    writable: 'never',
  });

  test('an export is found by name, and a wrong name is ENOENT with the address', async () => {
    const { socket } = await serve(pattern(65536), '-x', 'rootfs');
    const device = await nbdDevice({ socket, export: 'rootfs' });
    expect(device.size).toBe(65536);
    await device.close();
    await expect(nbdDevice({ socket, export: 'home' })).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'open',
      path: socket,
    });
  });

  test('large requests are cut, and flushed bytes are in the file', async () => {
    const { socket, file } = await serve(new Uint8Array(40 << 20));
    const device = await nbdDevice({ socket });
    expect([device.fua, typeof device.discard]).toEqual([true, 'function']);
    const bytes = pattern(20 << 20, 3);
    await device.write(bytes, 8 << 20);
    await device.flush();
    expect(
      fs
        .readFileSync(file)
        .subarray(8 << 20, 28 << 20)
        .equals(bytes),
    ).toBe(true);
    const back = new Uint8Array(20 << 20);
    await device.read(back, 8 << 20);
    expect(Buffer.compare(back, bytes)).toBe(0);
    await device.close();
  });

  test('when the server dies, every request fails with EIO, now and later', async () => {
    const { socket, server } = await serve(pattern(1 << 20));
    const device = await nbdDevice({ socket });
    await device.read(new Uint8Array(4096), 0);
    server.kill('SIGKILL');
    const reads = Array.from({ length: 8 }, () => device.read(new Uint8Array(65536), 0));
    await Promise.allSettled(reads);
    await expectCode(device.read(new Uint8Array(4096), 0), 'EIO');
    await expectCode(device.write(new Uint8Array(4096), 0), 'EIO');
    await device.close();
  });

  test('an aborted read leaves the connection usable', async () => {
    const { socket } = await serve(pattern(8 << 20));
    const device = await nbdDevice({ socket });
    const abort = new AbortController();
    const view = new Uint8Array(8 << 20);
    const running = device.read(view, 0, { signal: abort.signal });
    setImmediate(() => abort.abort(new Error('enough')));
    const outcome = await running.then(
      () => 'read',
      (error) => error.message,
    );
    expect(['read', 'enough']).toContain(outcome);
    const after = view.slice();
    const small = new Uint8Array(4096);
    await device.read(small, 4096);
    expect(small).toEqual(pattern(8 << 20).subarray(4096, 8192));
    expect(Buffer.compare(view, after)).toBe(0);
    await device.close();
  });
});

/** Whether somebody accepts connections there: the file appears between bind and listen. */
function listens(socket: string): boolean {
  const lines = fs.readFileSync('/proc/net/unix', 'utf8').split('\n');
  return lines.some((line) => line.endsWith(socket) && line.split(/\s+/)[3] === '00010000');
}

/** A server that runs `script` on each connection. */
async function scripted(script: (socket: Socket, intake: Intake) => Promise<void>) {
  const socket = join(dir, `script-${count++}.sock`);
  const server = createServer((peer) => {
    script(peer, new Intake(peer)).catch(() => peer.destroy());
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return { socket, close: () => server.close() };
}

const be = (...fields: [number, 2 | 4 | 8][]): Uint8Array => {
  const bytes = Buffer.alloc(fields.reduce((sum, [, size]) => sum + size, 0));
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 8) bytes.writeBigUInt64BE(BigInt(value), at);
    else bytes.writeUIntBE(value, at, size);
    at += size;
  }
  return bytes;
};
const GREETING = Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1');
const OPTION_REPLY = Buffer.from('0003e889045565a9', 'hex');
const optionReply = (option: number, type: number, data = new Uint8Array(0)) =>
  Buffer.concat([OPTION_REPLY, be([option, 4], [type, 4], [data.length, 4]), data]);

/** Greets, reads one option, answers it with `reply`. */
async function greet(peer: Socket, intake: Intake, ...reply: Uint8Array[]): Promise<number> {
  peer.write(GREETING);
  await intake.bytes(4);
  const header = await intake.bytes(16);
  await intake.bytes(header.getUint32(12));
  for (const part of reply) peer.write(part);
  return header.getUint32(8);
}

describe('nbd handshake', () => {
  const failure = async (script: (socket: Socket, intake: Intake) => Promise<void>) => {
    const { socket, close } = await scripted(script);
    const error = await nbdDevice({ socket }).catch((e) => e);
    close();
    return error;
  };

  test.each([
    [0x80000005, 'EACCES', /TLS/],
    [0x80000002, 'EACCES', /refused: no/],
    [0x80000006, 'ENOENT', /refused: no/],
    [0x80000008, 'EIO', /80000008/],
  ])('an option refused with %i is %s', async (type, code, text) => {
    const said = new TextEncoder().encode('refused: no');
    const error = await failure(async (peer, intake) => {
      await greet(peer, intake, optionReply(7, type, said));
    });
    expect(error).toMatchObject({ code, syscall: 'open' });
    expect(error.message).toMatch(text);
  });

  test('what is no NBD server, or an old one, is ENOTSUP', async () => {
    const http = await failure(async (peer) => void peer.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    expect(http.message).toMatch(/ENOTSUP.*not an NBD server/);
    const old = await failure(async (peer) => {
      peer.write(Buffer.from('NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\0\0', 'latin1'));
    });
    expect(old.message).toMatch(/ENOTSUP.*fixed newstyle/);
  });

  test('a server that hangs up, lies about lengths or never ends is EIO', async () => {
    expect(await failure(async (peer) => void peer.end())).toMatchObject({ code: 'EIO' });
    const long = await failure(async (peer, intake) => {
      const reply = optionReply(7, 3);
      reply.writeUInt32BE(0xffffffff, 16);
      await greet(peer, intake, reply);
    });
    expect(long.message).toMatch(/EIO.*bad reply/);
    const endless = await failure(async (peer, intake) => {
      await greet(peer, intake, ...Array.from({ length: 100 }, () => optionReply(7, 3)));
    });
    expect(endless.message).toMatch(/EIO.*does not come to an end/);
    const sizeless = await failure(async (peer, intake) => {
      await greet(peer, intake, optionReply(7, 1));
    });
    expect(sizeless.message).toMatch(/EIO.*does not tell the size/);
    await expect(nbdDevice({ socket: join(dir, 'nobody') })).rejects.toMatchObject({ code: 'EIO' });
  });

  test('EXPORT_NAME opens where GO is unknown; no flush goes where none is offered', async () => {
    const commands: number[] = [];
    const { socket, close } = await scripted(async (peer, intake) => {
      await greet(peer, intake, optionReply(7, 0x80000001));
      const header = await intake.bytes(16);
      await intake.bytes(header.getUint32(12));
      peer.write(be([1 << 20, 8], [1, 2]));
      for (;;) {
        const request = await intake.bytes(28);
        commands.push(request.getUint16(6));
        const len = request.getUint32(24);
        const cookie: [number, 8] = [request.getUint32(12), 8];
        if (request.getUint16(6) === 1) await intake.bytes(len);
        const code = request.getUint32(20) === 4096 ? 28 : 0;
        peer.write(be([0x67446698, 4], [code, 4], cookie));
        if (request.getUint16(6) === 0) peer.write(pattern(len, 5));
      }
    });
    const device = await nbdDevice({ socket });
    expect([device.size, device.fua, device.discard]).toEqual([1 << 20, false, undefined]);
    const view = new Uint8Array(1024);
    await device.read(view, 512);
    expect(view).toEqual(pattern(1024, 5));
    await device.write(view, 0, { fua: true });
    await expectCode(device.write(view, 4096), 'ENOSPC');
    await device.flush();
    expect(commands).toEqual([0, 1, 1]);
    await device.close();
    close();
  });

  test('an answer to what was not asked breaks the connection', async () => {
    const { socket, close } = await scripted(async (peer, intake) => {
      const info = Buffer.concat([be([0, 2], [65536, 8], [1, 2])]);
      await greet(peer, intake, optionReply(7, 3, info), optionReply(7, 1));
      await intake.bytes(28);
      peer.write(be([0x67446698, 4], [0, 4], [99, 8]));
    });
    const device = await nbdDevice({ socket });
    await expect(device.read(new Uint8Array(512), 0)).rejects.toThrow(/EIO.*not asked/);
    await expect(device.read(new Uint8Array(512), 0)).rejects.toThrow(/EIO.*not asked/);
    await device.close();
    close();
  });

  test('connecting can be aborted', async () => {
    const { socket, close } = await scripted(async () => undefined);
    const abort = new AbortController();
    const opening = nbdDevice({ socket, signal: abort.signal });
    setTimeout(() => abort.abort(new Error('stop')), 20);
    await expect(opening).rejects.toThrow('stop');
    close();
  });
});
