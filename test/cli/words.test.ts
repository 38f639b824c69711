// Goal: command lines, addresses and names are read and written as documented. Method: each rule by examples, wrong
// ones too; help and usage errors of every command.

import { describe, expect, test } from 'vitest';
import { type Address, isAddress, parseAddress } from '../../ts/cli/address.ts';
import { globPattern } from '../../ts/cli/findexpr.ts';
import { columns, deviceNumbers, humanSize, listDate, modeText } from '../../ts/cli/format.ts';
import { decodeName, encodeName, shown, width } from '../../ts/cli/names.ts';
import { clock } from '../../ts/cli/progress.ts';
import { ext4, ext4On } from './harness.ts';

const COMMANDS = (
  'info ls tree stat cat find du df extents xattr cp mkdir rm mv ln chmod chown touch tar ' +
  'journal dump start'
).split(' ');

describe('an address', () => {
  const on = (files: string[], windows = false) => ({
    exists: (path: string) => files.includes(path),
    windows,
  });
  const parts = ({ image, partition, path }: Address) => [image, partition, path];

  test.each([
    ['pi.img', ['pi.img', undefined, undefined]],
    ['pi.img:2', ['pi.img', '2', undefined]],
    ['pi.img:/etc', ['pi.img', undefined, '/etc']],
    ['pi.img:2:/etc', ['pi.img', '2', '/etc']],
    ['pi.img:rootfs:/', ['pi.img', 'rootfs', '/']],
    ['pi.img:2:/a:b/c:/d', ['pi.img', '2', '/a:b/c:/d']],
    ['dir/pi.img:/x y', ['dir/pi.img', undefined, '/x y']],
    ['none.img:3:/x', ['none.img', '3', '/x']],
  ])('%s', (text, wanted) => {
    expect(parts(parseAddress(text, on(['pi.img', 'dir/pi.img'])))).toEqual(wanted);
  });

  test('prefers the longest image that exists', () => {
    expect(parts(parseAddress('a:b.img:/x', on(['a:b.img'])))).toEqual([
      'a:b.img',
      undefined,
      '/x',
    ]);
    expect(parts(parseAddress('x.img:2', on(['x.img', 'x.img:2'])))).toEqual([
      'x.img:2',
      undefined,
      undefined,
    ]);
  });

  test.each([
    ['https://h/x.img', ['https://h/x.img', undefined, undefined]],
    ['https://h:8080/x.img:2:/etc', ['https://h:8080/x.img', '2', '/etc']],
    ['http://h/a/x.img:/etc', ['http://h/a/x.img', undefined, '/etc']],
    ['http://h/x.img?v=1:rootfs:/', ['http://h/x.img?v=1', 'rootfs', '/']],
  ])('of a URL: %s', (text, wanted) => {
    expect(parts(parseAddress(text, on([])))).toEqual(wanted);
  });

  test('on Windows begins with a drive, elsewhere with an image of one letter', () => {
    const drive = 'C:\\disk.img:2:/etc';
    expect(parts(parseAddress(drive, on(['C:\\disk.img'], true)))).toEqual([
      'C:\\disk.img',
      '2',
      '/etc',
    ]);
    expect(parts(parseAddress('C:/none.img:/x', on([], true)))).toEqual([
      'C:/none.img',
      undefined,
      '/x',
    ]);
    expect(parts(parseAddress('C:/x', on(['C'])))).toEqual(['C', undefined, '/x']);
  });

  test('is neither - nor a path that exists here', () => {
    expect(isAddress('-', on([]))).toBe(false);
    expect(isAddress('./a:/b', on(['./a:/b']))).toBe(false);
    expect(isAddress('plain', on([]))).toBe(false);
    expect(isAddress('x.img:/b', on(['x.img']))).toBe(true);
  });
});

describe('help and usage', () => {
  test.each(COMMANDS)(
    '%s --help tells the usage and every option on standard output',
    async (name) => {
      const { code, out, err } = await ext4(name, '--help');
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toMatch(new RegExp(`^Usage: ext4 ${name}\\b`));
      expect(out).toContain('--help');
      expect(out.split('\n').filter((line) => line.length > 100)).toEqual([]);
      expect((await ext4('help', name)).out).toBe(out);
    },
  );

  test('without a command the overview goes to standard error, with 2', async () => {
    const bare = await ext4();
    expect(bare).toMatchObject({ code: 2, out: '' });
    const asked = await ext4('--help');
    expect(asked).toMatchObject({ code: 0, out: bare.err, err: '' });
    for (const name of COMMANDS) expect(asked.out).toMatch(new RegExp(`^  ${name} `, 'm'));
  });

  test.each([
    [['nonsense'], "ext4: there is no command 'nonsense' (see: ext4 --help)"],
    [['--nonsense'], "ext4: unknown option '--nonsense' (see: ext4 --help)"],
    [['ls'], 'ext4: ls: an operand is missing (see: ext4 ls --help)'],
    [['ls', '-Q', 'x'], "ext4: ls: unknown option '-Q' (see: ext4 ls --help)"],
    [['ls', '--lang', 'x'], "ext4: ls: unknown option '--lang' (see: ext4 ls --help)"],
    [['ls', '--long=x', 'x'], "ext4: ls: option '--long' takes no value (see: ext4 ls --help)"],
    [['ls', 'x', '--offset'], "ext4: ls: option '--offset' needs a BYTES (see: ext4 ls --help)"],
    [['journal', 'a', 'b'], "ext4: journal: unexpected operand 'b' (see: ext4 journal --help)"],
    [
      ['dump', 'x', 'thing'],
      "ext4: dump: 'thing' is none of super, group, inode, block (see: ext4 dump --help)",
    ],
    [['dump', 'x', 'inode'], 'ext4: dump: inode needs a number (see: ext4 dump --help)'],
    [['dump', 'x', 'block', '-1'], "ext4: dump: unknown option '-1' (see: ext4 dump --help)"],
    [
      ['find', 'x', '-frobnicate'],
      "ext4: find: find does not know '-frobnicate' (see: ext4 find --help)",
    ],
    [['find', 'x', '(', '-name', 'a'], "ext4: find: ')' is missing (see: ext4 find --help)"],
    [['find', 'x', '-size', 'big'], "ext4: find: -size: 'big' is no size (see: ext4 find --help)"],
    [['tar', 'x'], 'ext4: tar: say -c or -x (see: ext4 tar --help)'],
    [['rm', 'x'], "ext4: rm: 'x' is no address IMAGE:/path (see: ext4 rm --help)"],
    [
      ['mv', 'x:/a', 'y:/b'],
      "ext4: mv: 'x:/a' and 'y:/b' are not in one file system (see: ext4 mv --help)",
    ],
    [['chmod', 'u+q', 'x:/a'], "ext4: chmod: 'u+q' is no mode (see: ext4 chmod --help)"],
    [
      ['chown', 'pi', 'x:/a'],
      "ext4: chown: 'pi' is no OWNER:GROUP: both are numbers (see: ext4 chown --help)",
    ],
    [
      ['touch', '-d', 'noon', 'x:/a'],
      "ext4: touch: 'noon' is no date (2024-02-29 12:30:00, @SECONDS, now) " +
        '(see: ext4 touch --help)',
    ],
    [
      ['xattr', '-x', 'x:/a'],
      'ext4: xattr: the NAME of an attribute is missing (see: ext4 xattr --help)',
    ],
    [['serve', 'x'], "ext4: 'serve' is not in this version (see: ext4 --help)"],
  ])('%j is a usage error', async (argv: string[], message) => {
    expect(await ext4(...argv)).toMatchObject({ code: 2, out: '', err: `${message}\n` });
  });

  test('an archive is not written to a terminal', async () => {
    const { code, err } = await ext4On({ tty: true }, 'tar', '-c', 'x:/');
    expect(code).toBe(2);
    expect(err).toContain('not for a terminal');
  });

  test('--version names the package', async () => {
    expect((await ext4('--version')).out).toMatch(/^ext4-wasm \d+\.\d+\.\d+\n$/);
  });
});

describe('a name', () => {
  test.each([
    [[]],
    [[0x61]],
    [[0xff]],
    [[0x61, 0xe9, 0x62]],
    [[0xc3, 0xa9, 0xc3]],
    [[0xed, 0xa0, 0x80]],
    [[0xf0, 0x9f, 0x8c, 0x8d, 0x80]],
    [[0xc0, 0xaf]],
    [[0xef, 0xbb, 0xbf, 0x61]],
  ])('of the bytes %j survives the way through a string', (bytes: number[]) => {
    expect([...encodeName(decodeName(Uint8Array.from(bytes)))]).toEqual(bytes);
  });

  test('of any bytes survives (1,000 random ones, seed 7)', () => {
    let state = 7;
    const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
    for (let i = 0; i < 1000; i++) {
      const bytes = Uint8Array.from({ length: next() % 40 }, next);
      expect([...encodeName(decodeName(bytes))]).toEqual([...bytes]);
    }
  });

  test('shown on a terminal has nothing that moves the cursor or turns the text', () => {
    expect(shown('a\nb\tc\x1b[2J\x7f\x9b\u202e\u2066\udcff')).toBe(
      'a\\nb\\tc\\x1b[2J\\x7f\\x9b\\u202e\\u2066\\xff',
    );
    expect(shown('Grüße 世界 🌍')).toBe('Grüße 世界 🌍');
  });

  test('takes two columns for wide characters', () => {
    expect(['abc', 'Grüße', '世界', '🌍', 'e\u0301'].map(width)).toEqual([3, 5, 4, 2, 1]);
  });
});

describe('facts in words', () => {
  test.each([
    [0, '0'],
    [1, '1'],
    [1023, '1023'],
    [1024, '1.0K'],
    [1025, '1.1K'],
    [10239, '10K'],
    [10240, '10K'],
    [10241, '11K'],
    [1048575, '1.0M'],
    [1048576, '1.0M'],
    [1023 * 1024 + 1, '1.0M'],
    [2 ** 53, '8.0P'],
  ])('%i bytes are %s for ls -h', (bytes, wanted) => {
    expect(humanSize(bytes)).toBe(wanted);
  });

  test.each([
    [0o100644, '-rw-r--r--'],
    [0o104755, '-rwsr-xr-x'],
    [0o102644, '-rw-r-Sr--'],
    [0o041777, 'drwxrwxrwt'],
    [0o041776, 'drwxrwxrwT'],
    [0o120777, 'lrwxrwxrwx'],
    [0o010600, 'prw-------'],
    [0o150000, '?---------'],
  ])('mode %o is %s', (mode, wanted) => {
    expect(modeText(mode)).toBe(wanted);
  });

  test('device numbers are Linux’s, wider than 32 bits', () => {
    expect(deviceNumbers(0x0801)).toEqual({ major: 8, minor: 1 });
    expect(deviceNumbers(0x1_11_0003_70)).toEqual({ major: 0x3, minor: 0x111070 });
    expect(deviceNumbers(2 ** 44 + 2 ** 32)).toEqual({ major: 4096, minor: 2 ** 20 });
  });

  test('dates older than half a year, or in the future, show their year', () => {
    const now = Date.UTC(2024, 5, 15) / 1000;
    expect(listDate({ sec: now - 60, nsec: 0 }, now)).toMatch(/^Jun \d\d \d\d:\d\d$/);
    expect(listDate({ sec: now + 60, nsec: 0 }, now)).toMatch(/^Jun \d\d {2}2024$/);
    expect(listDate({ sec: now - 200 * 86400, nsec: 0 }, now)).toMatch(/ {2}2023$/);
    expect(listDate({ sec: 1e15, nsec: 0 }, now)).toContain('1000000000000000');
  });

  test('columns fill a terminal downwards and never beyond its edge', () => {
    const names = Array.from({ length: 50 }, (_, i) => `name-${i}${'x'.repeat(i % 9)}`);
    const lines = columns(names, names, 72);
    expect(lines.every((line) => line.length < 72)).toBe(true);
    expect(lines.map((line) => line.split(/ +/)[0])).toEqual(names.slice(0, lines.length));
    expect(lines.join(' ').split(/ +/).sort()).toEqual([...names].sort());
    const many = Array.from({ length: 20_000 }, (_, i) => `entry-${i}`);
    const began = performance.now();
    expect(columns(many, many, 80).length).toBeLessThan(many.length / 4);
    expect(performance.now() - began).toBeLessThan(2000);
  });

  test('time left is minutes and seconds, hours when there are some', () => {
    expect([7, 754, 10800].map(clock)).toEqual(['0:07', '12:34', '3:00:00']);
  });

  test.each([
    ['*.txt', 'a.txt', true],
    ['*.txt', 'atxt', false],
    ['a?c', 'abc', true],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['a.c', 'abc', false],
    ['[]]', ']', true],
    ['x[', 'x[', true],
    ['*', 'line\nbreak', true],
    ['(a|b)', 'a', false],
    ['?', '🌍', true],
  ])('the pattern %s on %j: %s', (glob, name, wanted) => {
    expect(globPattern(glob, false).test(name)).toBe(wanted);
  });
});
