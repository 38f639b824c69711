// Goal: archives are read by the tars that people have: GNU's, and libarchive's where it is installed.
// Method: members that need every special case are packed, listed, and extracted as root; what lies there is compared.

import { execFileSync } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pack, type TarEntry, type TarMember } from '../../ts/tar/index.ts';
import { need, which } from '../need.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const member = (path: string, more: Partial<TarEntry>, data?: Uint8Array[]): TarMember => ({
  entry: {
    type: 'file',
    path: bytes(path),
    mode: 0o644,
    uid: 1234,
    gid: 4321,
    size: 0,
    mtime: { sec: 1_600_000_000, nsec: 123_456_789 },
    ...more,
  },
  data,
});

const LONG = `${'long/'.repeat(70)}name.txt`;
const BINARY = Uint8Array.from({ length: 256 }, (_, i) => i);

const MEMBERS: TarMember[] = [
  member('plain.txt', { size: 6, mode: 0o4755 }, [bytes('hel'), bytes('lo\n')]),
  member('hard.txt', { type: 'link', link: bytes('plain.txt') }),
  member('soft', { type: 'symlink', link: bytes('plain.txt'), mode: 0o777 }),
  member('long-link', { type: 'symlink', link: bytes('t'.repeat(200)), mode: 0o777 }),
  member(LONG, { size: 512 }, [new Uint8Array(512).fill(0x62)]),
  member('dir', { type: 'dir', mode: 0o2770, mtime: { sec: -5, nsec: 500_000_000 } }),
  member('fifo', { type: 'fifo' }),
  member('char', { type: 'chardev', devmajor: 1, devminor: 3 }),
  member('block', { type: 'blockdev', devmajor: 259, devminor: 70_000 }),
  member('ids', { uid: 3_000_000_000, gid: 4_000_000_000 }),
  member('future', { mtime: { sec: 10_000_000_000, nsec: 0 } }),
  member('xattr', {
    xattrs: [
      { name: bytes('user.binary'), value: BINARY },
      { name: bytes('user.empty'), value: new Uint8Array(0) },
    ],
  }),
  member(
    'sparse',
    {
      size: 10 << 20,
      segments: [
        { pos: 4096, len: 512 },
        { pos: 5 << 20, len: 1024 },
      ],
    },
    [new Uint8Array(512).fill(0x62), new Uint8Array(1024).fill(0x6d)],
  ),
  member('all-hole', { size: 1 << 20, segments: [] }),
  member('to-the-end', { size: 8002, segments: [{ pos: 7680, len: 322 }] }, [
    new Uint8Array(322).fill(0x7a),
  ]),
];

const latin = Uint8Array.from([0x63, 0x61, 0x66, 0xe9]);

async function archive(members: TarMember[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of pack(members)) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

test('the archive is whole records of 10 KiB and ends with zeros', async () => {
  const all = await archive(MEMBERS);
  expect(all.length % 10240).toBe(0);
  expect(all.subarray(-1024).every((byte) => byte === 0)).toBe(true);
});

test.each([
  ['less', [bytes('12345')]],
  ['more', [bytes('12345'), bytes('67890')]],
  ['less', []],
])('data with %s bytes than said is an error, not a broken archive', async (word, data) => {
  await expect(archive([member('x', { size: 7 }, data)])).rejects.toThrow(
    `${word} than its 7 bytes`,
  );
});

test.each([
  [[{ pos: 1, len: 512 }]],
  [[{ pos: 0, len: 100 }]],
  [
    [
      { pos: 512, len: 512 },
      { pos: 512, len: 512 },
    ],
  ],
  [
    [
      { pos: 0, len: 512 },
      { pos: 512, len: 512 },
    ],
  ],
  [[{ pos: 1024, len: 2048 }]],
])('segments that GNU tar would misread are refused: %j', async (segments) => {
  await expect(archive([member('x', { size: 2048, segments }, [])])).rejects.toThrow(RangeError);
});

test('the same members give the same bytes', async () => {
  expect((await archive(MEMBERS)).equals(await archive(MEMBERS))).toBe(true);
});

need.describe('GNU tar as root', [need.root(), need.tool('tar', 'python3')], () => {
  const dir = mkdtempSync(join(tmpdir(), 'ext4-tar-'));
  const out = join(dir, 'out');
  const file = join(dir, 'a.tar');
  const tar = (...args: string[]) =>
    execFileSync('tar', args, { encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'] });

  beforeAll(async () => {
    mkdirSync(out);
    writeFileSync(
      file,
      await archive([...MEMBERS, { entry: { ...MEMBERS[9].entry, path: latin } }]),
    );
    tar('-xf', file, '-C', out, '--xattrs', '--xattrs-include=*', '--numeric-owner', '-p');
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test('lists every member with its type, owner and size', () => {
    const list = tar('-tvf', file, '--numeric-owner', '--full-time').split('\n');
    expect(list.length - 1).toBe(MEMBERS.length + 1);
    expect(list[0]).toMatch(/^-rwsr-xr-x 1234\/4321 +6 2020-09-13 12:26:40\.123456789 plain\.txt$/);
    expect(list[1]).toMatch(/^hrw-r--r-- .* hard\.txt link to plain\.txt$/);
    expect(list[8]).toMatch(/^brw-r--r-- 1234\/4321 +259,70000 /);
    expect(list[9]).toMatch(/ 3000000000\/4000000000 /);
    expect(list[12]).toMatch(/ 10485760 .* sparse$/);
  });

  test('extracts contents, links, modes, owners and times', () => {
    const plain = statSync(join(out, 'plain.txt'), { bigint: true });
    expect(readFileSync(join(out, 'plain.txt'), 'utf8')).toBe('hello\n');
    expect([plain.uid, plain.gid, plain.mode & 0o7777n]).toEqual([1234n, 4321n, 0o4755n]);
    expect(plain.mtimeNs).toBe(1_600_000_000_123_456_789n);
    expect(statSync(join(out, 'hard.txt'), { bigint: true }).ino).toBe(plain.ino);
    expect(readlinkSync(join(out, 'long-link'))).toBe('t'.repeat(200));
    expect(readFileSync(join(out, LONG)).every((byte) => byte === 0x62)).toBe(true);
    expect(statSync(join(out, 'dir'), { bigint: true }).mtimeNs).toBe(-4_500_000_000n);
    expect(statSync(join(out, 'ids')).uid).toBe(3_000_000_000);
    expect(Number(statSync(join(out, 'future')).mtimeMs)).toBe(10_000_000_000_000);
  });

  test('makes the special files', () => {
    expect(lstatSync(join(out, 'fifo')).isFIFO()).toBe(true);
    expect(execFileSync('stat', ['-c', '%t:%T', join(out, 'block')], { encoding: 'utf8' })).toBe(
      '103:11170\n',
    );
    expect(lstatSync(join(out, 'char')).isCharacterDevice()).toBe(true);
  });

  test('sets binary xattrs byte for byte', () => {
    const read = (name: string) =>
      execFileSync('python3', [
        '-c',
        'import os,sys; sys.stdout.buffer.write(os.getxattr(sys.argv[1], sys.argv[2]))',
        join(out, 'xattr'),
        name,
      ]);
    expect(read('user.binary').equals(BINARY)).toBe(true);
    expect(read('user.empty').length).toBe(0);
  });

  test('makes the holes again', () => {
    for (const [name, size, at] of [
      ['sparse', 10 << 20, [4096, 5 << 20]],
      ['all-hole', 1 << 20, []],
      ['to-the-end', 8002, [7680]],
    ] as const) {
      const facts = statSync(join(out, name));
      expect(facts.size).toBe(size);
      expect(facts.blocks).toBeLessThanOrEqual(8 * 2 * at.length);
      const data = readFileSync(join(out, name));
      expect(at.every((pos) => data[pos] !== 0)).toBe(true);
      expect(data.filter((byte) => byte !== 0).length).toBe(
        { sparse: 1536, 'all-hole': 0, 'to-the-end': 322 }[name],
      );
    }
  });

  test('keeps a name that is no UTF-8', () => {
    expect(lstatSync(Buffer.concat([Buffer.from(`${out}/`), Buffer.from(latin)])).isFile()).toBe(
      true,
    );
  });
});

need.describe('libarchive', [which('bsdtar') ? '' : 'libarchive-tools', need.root()], () => {
  const dir = mkdtempSync(join(tmpdir(), 'ext4-bsdtar-'));
  afterAll(() => rmSync(dir, { recursive: true }));

  test('lists and extracts the same members', async () => {
    const file = join(dir, 'a.tar');
    writeFileSync(file, await archive(MEMBERS));
    const list = execFileSync('bsdtar', ['-tf', file], { encoding: 'utf8' })
      .split('\n')
      .slice(0, -1);
    expect(list.map((name) => name.replace(/\/$/, ''))).toEqual(
      MEMBERS.map(({ entry }) => Buffer.from(entry.path).toString()),
    );
    execFileSync('bsdtar', ['-xpf', file, '-C', dir, '--numeric-owner']);
    expect(readFileSync(join(dir, 'sparse')).subarray(4096, 4101).toString()).toBe('bbbbb');
    expect(statSync(join(dir, 'sparse')).size).toBe(10 << 20);
    expect(statSync(join(dir, 'plain.txt'), { bigint: true }).mtimeNs).toBe(
      1_600_000_000_123_456_789n,
    );
    expect(statSync(join(dir, 'ids')).gid).toBe(4_000_000_000);
  });
});
