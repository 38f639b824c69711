// Goal: the reader gives back what any tar wrote, whatever pieces it comes in, and meets a damaged or hostile archive
// with a TarError, in bounded memory and time. Method: members that need every special case through our packer, GNU tar
// and bsdtar; headers by hand; a seeded fuzzer on all of them.

import { execFileSync } from 'node:child_process';
import nodefs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { paxRecord } from '../../ts/tar/header.ts';
import {
  aclText,
  aclValue,
  encodeHeader,
  pack,
  type TarEntry,
  TarError,
  type TarMember,
  unpack,
} from '../../ts/tar/index.ts';
import { random } from '../fuzz/random.ts';
import { need } from '../need.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const text = (data: Uint8Array | undefined): string => Buffer.from(data ?? []).toString('latin1');
const entry = (path: string, more: Partial<TarEntry> = {}): TarEntry => ({
  type: 'file',
  path: bytes(path),
  mode: 0o644,
  uid: 1,
  gid: 2,
  size: 0,
  mtime: { sec: 1_600_000_000, nsec: 123_456_789 },
  ...more,
});

interface Read {
  entry: TarEntry;
  data: Buffer;
}

async function* cut(tar: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < tar.length; at += size) yield tar.slice(at, at + size);
}

/** All members with their whole data, holes as zeros. */
async function read(tar: Uint8Array, size = 4096): Promise<Read[]> {
  const found: Read[] = [];
  for await (const { entry, data } of unpack(cut(tar, size))) {
    const whole = Buffer.alloc(Math.min(entry.size, 1 << 24));
    for await (const piece of data) whole.set(piece.bytes, piece.pos);
    found.push({ entry, data: whole });
  }
  return found;
}

async function packed(...members: TarMember[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of pack(members)) parts.push(Uint8Array.from(chunk));
  return Buffer.concat(parts);
}

/** A header of a hand's own making with whatever follows it. */
function header(fields: Record<number, string>, flag: string, body = new Uint8Array(0)): Buffer {
  const block = Buffer.alloc(512);
  block.write('name', 0);
  for (const off of [100, 108, 116]) block.write('0000644\0', off);
  block.write(`${body.length.toString(8).padStart(11, '0')}\0`, 124);
  block.write('00000000000\0', 136);
  block.write(flag, 156, 'latin1');
  block.write('ustar\x0000', 257);
  for (const [off, value] of Object.entries(fields)) block.write(value, Number(off), 'latin1');
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([block, body, Buffer.alloc((512 - (body.length % 512)) % 512)]);
}

const END = Buffer.alloc(1024);
const pax = (...records: [string, string][]): Buffer =>
  header(
    {},
    'x',
    Buffer.concat(records.map(([key, value]) => paxRecord(bytes(key), bytes(value)))),
  );

const MEMBERS: TarMember[] = [
  { entry: entry('plain', { size: 6, mode: 0o4755 }), data: [bytes('hel'), bytes('lo\n')] },
  { entry: entry('hard', { type: 'link', link: bytes('plain') }) },
  { entry: entry('soft', { type: 'symlink', link: bytes('t'.repeat(300)) }) },
  { entry: entry(`${'long/'.repeat(80)}name`, { size: 512 }), data: [new Uint8Array(512).fill(7)] },
  { entry: entry('raw-\xff\xfe') },
  { entry: entry('dir', { type: 'dir', mtime: { sec: -5, nsec: 500_000_000 } }) },
  { entry: entry('block', { type: 'blockdev', devmajor: 259, devminor: 70_000 }) },
  { entry: entry('fifo', { type: 'fifo', uid: 4_000_000_000, gid: 3_000_000_000 }) },
  {
    entry: entry('xattr', {
      xattrs: [
        { name: bytes('user.binary'), value: Uint8Array.from({ length: 256 }, (_, i) => i) },
        { name: bytes('user.empty'), value: new Uint8Array(0) },
        { name: bytes('trusted.a=b%c'), value: bytes('odd') },
      ],
    }),
  },
  {
    entry: entry('sparse', {
      size: 10_000,
      segments: [
        { pos: 512, len: 512 },
        { pos: 5120, len: 1024 },
      ],
    }),
    data: [new Uint8Array(512).fill(1), new Uint8Array(1024).fill(2)],
  },
  { entry: entry('hole', { size: 1 << 20, segments: [] }) },
  { entry: entry('last', { size: 1 }), data: [bytes('z')] },
];

describe('what we packed', () => {
  test.each([1, 7, 511, 512, 513, 100_000])('comes back from pieces of %i bytes', async (size) => {
    const found = await read(await packed(...MEMBERS), size);
    expect(found.map(({ entry }) => text(entry.path))).toEqual(
      MEMBERS.map(({ entry }) => text(entry.path)),
    );
    for (const [i, { entry }] of found.entries()) {
      const { link, segments, xattrs = [], ...wanted } = MEMBERS[i].entry;
      expect(entry).toMatchObject({ ...wanted, path: expect.anything() });
      expect(text(entry.link)).toBe(text(link));
      expect(entry.xattrs!.map((x) => [text(x.name), text(x.value)])).toEqual(
        xattrs.map((x) => [text(x.name), text(x.value)]),
      );
      expect(entry.segments).toEqual(segments);
    }
    const sparse = found.find(({ entry }) => text(entry.path) === 'sparse')!.data;
    const wanted = Buffer.alloc(10_000);
    wanted.fill(1, 512, 1024).fill(2, 5120, 6144);
    expect(Buffer.compare(sparse, wanted)).toBe(0);
    expect(text(found[0].data)).toBe('hello\n');
  });

  test('may be read without its data', async () => {
    const names: string[] = [];
    for await (const { entry } of unpack(cut(await packed(...MEMBERS), 100)))
      names.push(text(entry.path));
    expect(names).toHaveLength(MEMBERS.length);
  });
});

describe('headers by hand', () => {
  const first = async (...parts: Buffer[]) => (await read(Buffer.concat([...parts, END])))[0].entry;

  test('numbers: octal with spaces and NULs, base 256, negative', async () => {
    expect((await first(header({ 108: '   644 \0' }, '0'))).uid).toBe(0o644);
    expect((await first(header({ 108: '\x80\0\0\0\xff\xff\xff\xff' }, '0'))).uid).toBe(4294967295);
    const early = '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfb';
    expect((await first(header({ 136: early }, '0'))).mtime).toEqual({ sec: -5, nsec: 0 });
    expect((await first(header({ 108: '\0'.repeat(8) }, '0'))).uid).toBe(0);
  });

  test('names: prefix, GNU long names, pax over all, a slash that makes a directory', async () => {
    expect(text((await first(header({ 345: 'pre/fix' }, '0'))).path)).toBe('pre/fix/name');
    const long = header({}, 'L', Buffer.from(`${'l'.repeat(200)}\0`));
    expect(text((await first(long, header({}, '0'))).path)).toBe('l'.repeat(200));
    expect(text((await first(long, pax(['path', 'over']), header({}, '0'))).path)).toBe('over');
    const gnu = header({ 257: 'ustar  \0', 345: 'no prefix' }, '0');
    expect(text((await first(gnu)).path)).toBe('name');
    const old = header({ 0: 'dir/\0', 257: '\0\0\0\0\0\0\0\0' }, '\0');
    expect(await first(old)).toMatchObject({ type: 'dir' });
  });

  test('records: times to the nanosecond, of the whole archive, taken back', async () => {
    const timed = await first(pax(['mtime', '-1.25'], ['atime', '5.5']), header({}, '0'));
    expect([timed.mtime, timed.atime]).toEqual([
      { sec: -2, nsec: 750_000_000 },
      { sec: 5, nsec: 500_000_000 },
    ]);
    const body = paxRecord(bytes('uid'), bytes('77'));
    const global = header({}, 'g', Buffer.from(body));
    const all = await read(
      Buffer.concat([global, header({}, '0'), pax(['uid', '']), header({}, '0'), END]),
    );
    expect(all.map(({ entry }) => entry.uid)).toEqual([77, 0o644]);
  });

  test('attributes: libarchive’s give way to SCHILY’s, ACLs become bytes', async () => {
    const acl = 'user::rwx,user:1000:r--,group::r-x,mask::r-x,other::---';
    const { xattrs } = await first(
      pax(
        ['LIBARCHIVE.xattr.user.a', 'bGliYXJjaGl2ZQ'],
        ['SCHILY.xattr.user.a', 'schily'],
        ['LIBARCHIVE.xattr.user.%62', 'Yg'],
        ['SCHILY.acl.access', acl],
        ['SCHILY.acl.default', 'user:somebody:rwx'],
        ['RHT.security.selinux', 'label'],
      ),
      header({}, '0'),
    );
    const found = Object.fromEntries(xattrs!.map(({ name, value }) => [text(name), value]));
    expect(Object.keys(found).sort()).toEqual([
      'security.selinux',
      'system.posix_acl_access',
      'user.a',
      'user.b',
    ]);
    expect(text(found['user.a'])).toBe('schily');
    expect(aclText(found['system.posix_acl_access'])).toBe(acl);
    expect(
      aclText(aclValue('user::rw-\nuser:name:r--:70\ngroup::r--\nmask::r--\nother::r-- # x')!),
    ).toBe('user::rw-,user:70:r--,group::r--,mask::r--,other::r--');
  });

  const BAD: [string, string, () => Buffer][] = [
    ['no octal', 'is no octal number', () => header({ 108: '9999999\0' }, '0')],
    ['a size beyond all', 'too large', () => header({ 124: `\x80${'\xff'.repeat(11)}` }, '0')],
    ['a negative size', 'is negative', () => header({ 124: '\xff'.repeat(12) }, '0')],
    [
      'a record too long',
      'a pax record is malformed',
      () => header({}, 'x', Buffer.from('99 a=b\n')),
    ],
    [
      'a record of nothing',
      'a pax record is malformed',
      () => header({}, 'x', Buffer.from('0 a=b\n')),
    ],
    [
      'a record without =',
      'a pax record is malformed',
      () => header({}, 'x', Buffer.from('5 abc\n')),
    ],
    ['a header too long', 'is too long', () => header({ 124: '00200000000\0' }, 'x')],
    [
      'a NUL in a name',
      'a name holds a NUL',
      () => Buffer.concat([pax(['path', 'a\0b']), header({}, '0')]),
    ],
    ['holes out of order', 'out of order', () => sparse('0,10,5,10', 20)],
    ['holes outside', 'out of order', () => sparse('90,20', 20)],
    ['too little data', 'does not fit', () => sparse('0,10', 20)],
    ['odd maps', 'malformed', () => sparse('0,10,5', 20)],
    ['maps of nonsense', 'out of order', () => sparse('x,10', 20)],
    [
      'a map without end',
      'a sparse map has no end',
      () => sparse10(`200\n${'1\n'.repeat(254)}`, 512),
    ],
    ['a map of letters', 'a sparse map is malformed', () => sparse10('x\n', 512)],
    ['a map of millions', 'too many holes', () => sparse10('99999999\n', 512)],
    [
      'an unknown format',
      'is not known',
      () => Buffer.concat([pax(['GNU.sparse.major', '2']), header({}, '0')]),
    ],
  ];

  function sparse(map: string, stored: number): Buffer {
    const records: [string, string][] = [
      ['GNU.sparse.size', '100'],
      ['GNU.sparse.map', map],
    ];
    return Buffer.concat([pax(...records), header({}, '0', new Uint8Array(stored))]);
  }

  function sparse10(map: string, stored: number): Buffer {
    const body = Buffer.alloc(stored, 0x30);
    body.write(map);
    const records: [string, string][] = [
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.realsize', '100'],
    ];
    return Buffer.concat([
      pax(...records),
      header({}, '0', body.fill(0x0a, map.length, map.length)),
    ]);
  }

  test.each(BAD)('with %s are refused', async (_, why, make) => {
    const tar = Buffer.concat([make(), END]);
    await expect(read(tar)).rejects.toThrow(why);
    await expect(read(tar)).rejects.toBeInstanceOf(TarError);
  });
});

describe('damage', () => {
  const SEED = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);

  test(`of any kind is a TarError or harmless, seed ${SEED}`, { timeout: 60_000 }, async () => {
    const r = random(SEED);
    const good = await packed(...MEMBERS);
    for (let i = 0; i < 1500; i++) {
      const tar = Buffer.from(good.subarray(0, r.chance(0.2) ? r.int(good.length) : good.length));
      for (let n = 1 + r.int(6); n > 0 && tar.length > 0; n--) tar[r.int(tar.length)] = r.int(256);
      fixSums(tar);
      try {
        for await (const { entry, data } of unpack(cut(tar, 1 + r.int(3000)))) {
          let [sum, end] = [0, 0];
          for await (const { pos, bytes } of data) {
            expect(pos).toBeGreaterThanOrEqual(end);
            end = pos + bytes.length;
            sum += bytes.length;
          }
          expect(end).toBeLessThanOrEqual(entry.size);
          expect(sum).toBeLessThanOrEqual(tar.length);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(TarError);
      }
    }
  });

  function fixSums(tar: Buffer): void {
    for (let at = 0; at + 512 <= tar.length; at += 512) {
      const block = tar.subarray(at, at + 512);
      if (block.toString('latin1', 257, 260) !== 'ust') continue;
      block.fill(0x20, 148, 156);
      const sum = block.reduce((total, byte) => total + byte, 0);
      block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    }
  }
});

need.describe('other tars', [need.tool('tar', 'bsdtar')], () => {
  let dir: string;
  beforeAll(() => {
    dir = nodefs.mkdtempSync(join(tmpdir(), 'ext4-unpack-'));
    const script = `
      mkdir -p tree/dir; cd tree; printf hello > file; ln file hard; ln -s file soft
      truncate -s 300000 sparse; printf x | dd of=sparse bs=1 seek=200000 conv=notrunc status=none
      mkdir -p $(printf 'long/%.0s' $(seq 60)); printf deep > $(printf 'long/%.0s' $(seq 60))file`;
    execFileSync('bash', ['-c', script], { cwd: dir });
  });
  afterAll(() => nodefs.rmSync(dir, { recursive: true, force: true }));

  const WRITERS: [string, string, string[]][] = [
    ['GNU, gnu', 'tar', ['--format=gnu', '-S']],
    ['GNU, pax', 'tar', ['--format=pax', '-S']],
    ['GNU, pax, sparse 0.0', 'tar', ['--format=pax', '-S', '--sparse-version=0.0']],
    ['GNU, pax, sparse 0.1', 'tar', ['--format=pax', '-S', '--sparse-version=0.1']],
    ['GNU, oldgnu', 'tar', ['--format=oldgnu']],
    ['bsdtar', 'bsdtar', []],
    ['bsdtar, pax', 'bsdtar', ['--format', 'pax']],
    ['bsdtar, gnutar', 'bsdtar', ['--format', 'gnutar']],
  ];

  test.each(WRITERS)('%s', async (_, command, options) => {
    const tar = execFileSync(command, ['-C', join(dir, 'tree'), ...options, '-cf', '-', '.'], {
      maxBuffer: 1 << 26,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const found = await read(tar, 1000);
    const named = new Map(found.map((one) => [text(one.entry.path).replace(/^\.\//, ''), one]));
    const wanted = Buffer.alloc(300_000);
    wanted.write('x', 200_000);
    expect(Buffer.compare(named.get('sparse')!.data, wanted)).toBe(0);
    expect(text(named.get(`${'long/'.repeat(60)}file`)!.data)).toBe('deep');
    const links = ['file', 'hard'].map((name) => named.get(name)!);
    expect(links.map(({ entry }) => entry.type).sort()).toEqual(['file', 'link']);
    expect(links.map(({ data }) => text(data)).join('')).toBe('hello');
    expect(text(named.get('soft')!.entry.link)).toBe('file');
    expect(named.get('dir')!.entry.type).toBe('dir');
  });
});

test('a header of ours is one member', async () => {
  const [one] = await read(Buffer.concat([encodeHeader(entry('alone')), END]));
  expect(text(one.entry.path)).toBe('alone');
});
