// Goal: a header is what POSIX and GNU say, byte for byte, for what ustar can hold and for what it cannot.
// Method: fields are read back from the block; pax records by an independent few lines.

import { describe, expect, test } from 'vitest';
import { decimalTime, encodeHeader, paxRecord, type TarEntry } from '../../ts/tar/header.ts';
import { aclText } from '../../ts/tar/index.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const entry = (more: Partial<TarEntry>): TarEntry => ({
  type: 'file',
  path: bytes('a/file'),
  mode: 0o644,
  uid: 1,
  gid: 2,
  size: 0,
  mtime: { sec: 1_000_000_000, nsec: 0 },
  ...more,
});

const text = (block: Uint8Array, off: number, len: number): string =>
  Buffer.from(block.subarray(off, off + len))
    .toString('latin1')
    .replace(/\0.*$/s, '');

function checksumHolds(block: Uint8Array): boolean {
  const copy = Uint8Array.from(block);
  copy.fill(0x20, 148, 156);
  return copy.reduce((sum, byte) => sum + byte, 0) === Number.parseInt(text(block, 148, 8), 8);
}

/** The records of a pax header at the start, as GNU tar would read them: by their lengths. */
function records(header: Uint8Array): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  if (text(header, 156, 1) !== 'x') return found;
  const size = Number.parseInt(text(header, 124, 12), 8);
  let body = Buffer.from(header.subarray(512, 512 + size));
  while (body.length > 0) {
    const len = Number.parseInt(body.toString('latin1', 0, 12), 10);
    const record = body.subarray(0, len);
    expect(record[len - 1]).toBe(0x0a);
    const equals = record.indexOf('=');
    found.set(
      record.toString('utf8', record.indexOf(' ') + 1, equals),
      record.subarray(equals + 1, -1),
    );
    body = body.subarray(len);
  }
  return found;
}

describe('a ustar block', () => {
  test('holds every field where POSIX has it', () => {
    const block = encodeHeader(
      entry({ type: 'blockdev', mode: 0o6755, devmajor: 8, devminor: 17, uid: 0o1234567 }),
    );
    expect(block.length).toBe(512);
    expect(text(block, 0, 100)).toBe('a/file');
    expect(text(block, 100, 8)).toBe('0006755');
    expect(text(block, 108, 8)).toBe('1234567');
    expect(text(block, 116, 8)).toBe('0000002');
    expect(text(block, 124, 12)).toBe('00000000000');
    expect(text(block, 136, 12)).toBe('07346545000');
    expect(text(block, 156, 1)).toBe('4');
    expect(Buffer.from(block.subarray(257, 265)).toString('latin1')).toBe('ustar\x0000');
    expect([text(block, 329, 8), text(block, 337, 8)]).toEqual(['0000010', '0000021']);
    expect(checksumHolds(block)).toBe(true);
  });

  test('splits a path of up to 256 bytes at a slash instead of needing pax', () => {
    const path = `${'d'.repeat(120)}/${'n'.repeat(90)}`;
    const block = encodeHeader(entry({ path: bytes(path) }));
    expect(block.length).toBe(512);
    expect([text(block, 345, 155), text(block, 0, 100)]).toEqual(path.split('/'));
  });

  test('ends the name of a directory with a slash', () => {
    expect(text(encodeHeader(entry({ type: 'dir', path: bytes('x') })), 0, 100)).toBe('x/');
  });
});

describe('a pax header', () => {
  test.each([1, 2, 3, 89, 90, 91, 92, 93, 988, 989, 990, 991, 9987, 9988, 9989, 9990])(
    'counts its own length: value of %i bytes',
    (len) => {
      const record = paxRecord(bytes('path'), new Uint8Array(len).fill(0x61));
      expect(Number.parseInt(Buffer.from(record).toString('latin1', 0, 8), 10)).toBe(record.length);
    },
  );

  test('is there only when ustar is too small', () => {
    expect(encodeHeader(entry({ size: 8 ** 11 - 1 })).length).toBe(512);
    expect(
      records(encodeHeader(entry({ size: 8 ** 11 })))
        .get('size')
        ?.toString(),
    ).toBe('8589934592');
    expect(
      records(encodeHeader(entry({ uid: 8 ** 7 })))
        .get('uid')
        ?.toString(),
    ).toBe('2097152');
  });

  test('carries long names, and link targets', () => {
    const path = 'n'.repeat(300);
    const link = 't'.repeat(101);
    const found = records(
      encodeHeader(entry({ type: 'symlink', path: bytes(path), link: bytes(link) })),
    );
    expect(found.get('path')?.toString()).toBe(path);
    expect(found.get('linkpath')?.toString()).toBe(link);
  });

  test('says that a name is no UTF-8 and keeps its bytes', () => {
    const path = Uint8Array.from([...new Uint8Array(200).fill(0x61), 0xff, 0xfe]);
    const found = records(encodeHeader(entry({ path })));
    expect(found.get('hdrcharset')?.toString()).toBe('BINARY');
    expect(found.get('path')).toEqual(Buffer.from(path));
  });

  test('keeps xattr values byte for byte and guards the equals sign of a name', () => {
    const value = Uint8Array.from({ length: 256 }, (_, i) => i);
    const found = records(encodeHeader(entry({ xattrs: [{ name: bytes('user.a=b%'), value }] })));
    expect(found.get('SCHILY.xattr.user.a%3Db%25')).toEqual(Buffer.from(value));
  });

  test.each([
    [{ sec: 1, nsec: 5 }, '1.000000005'],
    [{ sec: 0, nsec: 120_000_000 }, '0.12'],
    [{ sec: -1, nsec: 0 }, '-1'],
    [{ sec: -1, nsec: 500_000_000 }, '-0.5'],
    [{ sec: -2, nsec: 250_000_000 }, '-1.75'],
    [{ sec: 5_000_000_000, nsec: 999_999_999 }, '5000000000.999999999'],
  ])('writes the time %j as %s', (time, wanted) => {
    expect(decimalTime(time)).toBe(wanted);
  });

  test('is the same for the same entry', () => {
    const make = () =>
      encodeHeader(entry({ path: bytes('x'.repeat(300)), mtime: { sec: -5, nsec: 7 } }));
    expect(make()).toEqual(make());
  });
});

describe('an ACL', () => {
  test('of the kernel becomes text, numbers for ids', () => {
    const acl = Buffer.from(
      '0200000001000600ffffffff020004001707000004000400ffffffff10000400ffffffff20000000ffffffff',
      'hex',
    );
    expect(aclText(acl)).toBe('user::rw-,user:1815:r--,group::r--,mask::r--,other::---');
  });

  test.each([
    '',
    '02000000010006',
    '01000000',
    '0200000003000600ffffffff',
    '0200000001000900ffffffff',
  ])('that is none gives nothing: %s', (hex) => {
    expect(aclText(Buffer.from(hex, 'hex'))).toBeUndefined();
  });
});
