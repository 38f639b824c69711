// Goal: the built program behaves as a Unix command: exit codes, one-line errors, silence on a closed pipe, 130 after
// an interrupt, nothing written to the image, quick help. Method: it is built, then run as a process of its own.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { need, which } from '../need.ts';
import { buildMain, MAIN } from './built.ts';
import { smallWorld, temporary } from './harness.ts';

const dir = temporary();
const image = smallWorld(dir);

beforeAll(buildMain, 120_000);

const ext4 = (...argv: string[]) =>
  spawnSync(process.execPath, [MAIN, ...argv], { encoding: 'utf8', maxBuffer: 1 << 28 });

const sha = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

describe('exit codes', () => {
  test('0, 1, 2 and 3, each with what belongs to it', () => {
    expect(ext4('cat', `${image}:/etc/hostname`)).toMatchObject({
      status: 0,
      stdout: 'wonderland\n',
      stderr: '',
    });
    expect(ext4('cat', `${image}:/none`)).toMatchObject({
      status: 1,
      stdout: '',
      stderr: `ext4: cat ${image}:/none: no such file or directory\n`,
    });
    expect(ext4('cat')).toMatchObject({ status: 2, stdout: '' });
    const zeros = join(dir, 'zeros');
    writeFileSync(zeros, '');
    truncateSync(zeros, 1 << 20);
    const none = ext4('ls', `${zeros}:/`);
    expect(none.status).toBe(3);
    expect(none.stderr).toMatch(/^ext4: ls .*zeros:\/: not an ext2, ext3 or ext4 file system.*\n$/);
  });

  test('a missing, empty or short image, and a directory, are one line', () => {
    const empty = join(dir, 'empty');
    writeFileSync(empty, '');
    const short = join(dir, 'short');
    writeFileSync(short, readFileSync(image).subarray(0, 1 << 20));
    for (const [path, status] of [
      [join(dir, 'missing'), 1],
      [empty, 3],
      [short, 3],
      [dir, 1],
    ] as const) {
      const result = ext4('ls', `${path}:/`);
      expect(result.stderr).toMatch(/^ext4: ls [^\n]+\n$/);
      expect([result.status, result.stdout], result.stderr).toEqual([status, '']);
    }
  });

  test('the image is byte for byte what it was, although its journal needs recovery', () => {
    const before = [sha(image), statSync(image).mtimeMs];
    const to = join(dir, 'out');
    for (const argv of [
      ['info', image],
      ['ls', '-lR', `${image}:/`],
      ['cp', '-rp', `${image}:/`, to],
      ['start', image],
    ]) {
      expect(ext4(...argv), argv.join(' ')).toMatchObject({ status: 0 });
    }
    expect([sha(image), statSync(image).mtimeMs]).toEqual(before);
  }, 60_000);
});

describe('pipes and signals', () => {
  test('a reader that leaves ends the command without a word', () => {
    const cat = `${process.execPath} ${MAIN} cat ${image}:/tiles/world.raw`;
    const command = `${cat} | head -c 10; echo "\${PIPESTATUS[0]}"`;
    const result = spawnSync('bash', ['-c', command], { encoding: 'latin1' });
    expect(result.stderr).toBe('');
    expect(result.stdout.slice(10)).toMatch(/^(0|141)\n$/);
  });

  test('an interrupt ends it with 130', async () => {
    const child = spawn(process.execPath, [MAIN, 'cat', `${image}:/var/sparse.img`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let err = '';
    child.stderr.on('data', (text) => (err += text));
    const ended = new Promise((done) =>
      child.once('exit', (code, signal) => done({ code, signal })),
    );
    // Nobody reads: the command waits in the middle of its output.
    await new Promise((done) => child.stdout.once('readable', done));
    child.kill('SIGINT');
    child.stdout.resume();
    expect(await ended).toEqual({ code: 130, signal: null });
    expect(err).toBe('ext4: cat: interrupted\n');
  });

  test('a full disk is an error, not silence', () => {
    const full = openSync('/dev/full', 'w');
    const result = spawnSync(process.execPath, [MAIN, 'cat', `${image}:/etc/hostname`], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    closeSync(full);
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(/^ext4: .*no space left on device\n$/);
  });
});

describe('start-up', () => {
  /** Processor time, for the machine may be busy with other things. */
  function cpuMs(argv: string[]): number {
    const code = `process.argv.splice(1, 0, ${JSON.stringify(MAIN)}); process.on('exit', () => {
      const { user, system } = process.cpuUsage();
      require('fs').writeSync(2, '\\n' + (user + system) / 1000);
    }); ${argv.length > 0 ? `import(${JSON.stringify(MAIN)})` : ''}`;
    const result = spawnSync(process.execPath, ['-e', code, '--', ...argv], { encoding: 'utf8' });
    return Number(result.stderr.trim().split('\n').at(-1));
  }

  // Bare Node takes 40 ms of processor time on an idle machine of 2020: a busy one is given its share.
  test('help takes under 150 ms of processor time, a listing under twice that', () => {
    const best = (argv: string[]) => Math.min(...Array.from({ length: 3 }, () => cpuMs(argv)));
    const scale = Math.max(1, best([]) / 40);
    expect(best(['--help']) / scale).toBeLessThan(150);
    expect(best(['ls', `${image}:/`]) / scale).toBeLessThan(300);
  });
});

describe('an image on a web server', () => {
  let url = '';
  let requests = 0;
  const server = createServer((request, response) => {
    requests++;
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const { size } = statSync(image);
    if (from === undefined) {
      response.writeHead(200, { 'content-length': size }).end();
      return;
    }
    const end = Math.min(Number(to), size - 1);
    const part = Buffer.alloc(end - Number(from) + 1);
    const fd = openSync(image, 'r');
    readSync(fd, part, 0, part.length, Number(from));
    closeSync(fd);
    const headers = {
      'content-range': `bytes ${from}-${end}/${size}`,
      'content-length': part.length,
      etag: '"1"',
    };
    response.writeHead(206, headers).end(part);
  });

  beforeAll(async () => {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/world.img`;
  });
  afterAll(() => void server.close());

  /** Asynchronously: the server lives in this process. */
  function remote(...argv: string[]): Promise<{ code: number | null; out: string; err: string }> {
    return new Promise((done) => {
      const child = spawn(process.execPath, [MAIN, ...argv]);
      const texts = { out: '', err: '' };
      child.stdout.on('data', (text) => (texts.out += text));
      child.stderr.on('data', (text) => (texts.err += text));
      child.on('close', (code) => done({ code, ...texts }));
    });
  }

  test('is read by ranges: a file, a listing, what is only in the journal', async () => {
    expect(await remote('cat', `${url}:/home/ada/just-saved.txt`)).toMatchObject({
      code: 0,
      err: '',
    });
    requests = 0;
    expect((await remote('cat', `${url}:/etc/hostname`)).out).toBe('wonderland\n');
    expect(requests).toBeLessThan(20);
    const listing = await remote('ls', '-l', `${url}:/etc`);
    expect(listing.out).toBe(ext4('ls', '-l', `${image}:/etc`).stdout);
  });

  test('that is not there is one line', async () => {
    const { code, err } = await remote('ls', 'http://127.0.0.1:1/x.img:/');
    expect(code).toBe(1);
    expect(err).toMatch(/^ext4: ls http:\/\/127\.0\.0\.1:1\/x\.img:\/: [^\n]+\n$/);
  });
});

need.describe('a disk with partitions', [need.tool('sfdisk', 'mke2fs')], () => {
  const disk = join(dir, 'disk.img');

  beforeAll(() => {
    writeFileSync(disk, '');
    truncateSync(disk, 64 << 20);
    const script =
      'label: gpt\nsize=8MiB, type=U, name=boot\nsize=32MiB, name=system\nsize=8MiB, name=data\n';
    execFileSync(which('sfdisk'), ['-q', disk], {
      input: script,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    const world = readFileSync(image);
    const fd = openSync(disk, 'r+');
    const { writeSync } = process.getBuiltinModule('node:fs');
    writeSync(fd, world, 0, world.length, 9 << 20);
    closeSync(fd);
  });

  test('shows its table, and the file system in it', () => {
    const { status, stdout } = ext4('info', disk);
    expect(status).toBe(0);
    expect(stdout).toMatch(/64 MiB, GPT, 3 partitions/);
    expect(stdout).toMatch(/^ +2 +9 MiB +32 MiB +Linux +ext2\/3\/4 +system$/m);
    expect(stdout).toContain(`${disk}:2\n`);
    expect(stdout).toContain('small-world');
    const json = JSON.parse(ext4('info', '--json', disk).stdout);
    expect(json.partitions.map((part: { number: number }) => part.number)).toEqual([1, 2, 3]);
    expect(json.partitions[1].filesystem).toMatchObject({ kind: 'ext4', label: 'small-world' });
  });

  test.each([':2', ':system', ':small-world', ''])('the partition is named as %s', (name) => {
    const { stdout, stderr } = ext4('cat', `${disk}${name}:/etc/hostname`);
    expect({ stdout, stderr }).toEqual({ stdout: 'wonderland\n', stderr: '' });
  });

  test('or by the place where the file system starts', () => {
    expect(ext4('cat', '--offset', '9M', `${disk}:/etc/hostname`).stdout).toBe('wonderland\n');
    expect(ext4('cat', '--offset', '3', `${disk}:/etc/hostname`).status).toBe(2);
    expect(ext4('cat', '--offset', '1M', `${disk}:/etc/hostname`).status).toBe(3);
  });

  test('a partition that is not there, or holds something else, is said so', () => {
    expect(ext4('ls', `${disk}:7:/`)).toMatchObject({ status: 1, stdout: '' });
    expect(ext4('ls', `${disk}:1:/`)).toMatchObject({ status: 3, stdout: '' });
  });
});
