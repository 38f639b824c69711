// Goal: mount options are checked before anything is read: names, types, values; the text of -o means what mount(8)
// means by it. Method: tables of what is right and what is wrong.

import { describe, expect, test } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { mountSync, parseMountOptions } from '../../ts/index.ts';

const RIGHT: [string, object][] = [
  ['', {}],
  ['defaults', {}],
  ['ro', { ro: true }],
  ['ro,rw', { ro: false }],
  [
    'ro,data=journal,noload,journal=memory',
    { ro: true, data: 'journal', noload: true, journal: 'memory' },
  ],
  [' noatime , relatime ', { noatime: true, relatime: true }],
  ['norecovery', { noload: true }],
  ['dax', { dax: 'always' }],
  ['dax=inode', { dax: 'inode' }],
  ['nobuffered_iomap,nodelalloc', { bufferedIomap: false, delalloc: false }],
  ['barrier=0', { barrier: false }],
  ['nobarrier,barrier=1', { barrier: true }],
  ['commit=30', { commit: 30 }],
  ['errors=remount-ro', { errors: 'remount-ro' }],
  ['data_err=abort', { dataErrAbort: true }],
  ['data_err=ignore', { dataErrAbort: false }],
  ['uid=1000,gid=0,umask=022', { uid: 1000, gid: 0, umask: 0o22 }],
  ['clear_mmp', { clearMmp: true }],
  ['cache_bytes=32M', { cacheBytes: 32 << 20 }],
  ['cacheBytes=1048576,noshared', { cacheBytes: 1 << 20, shared: false }],
];

const WRONG: [string, RegExp][] = [
  ['sync', /unknown mount option 'sync'/],
  ['ro,toString', /unknown mount option 'toString'/],
  ['constructor=1', /unknown mount option 'constructor=1'/],
  ['data=fast', /must be one of: 'ordered', 'journal', 'writeback'/],
  ['data=', /must be one of/],
  ['errors=ignore', /must be one of/],
  ['journal', /unknown mount option 'journal'/],
  ['journal=later', /'replay', 'memory', 'refuse'/],
  ['commit=soon', /'commit=soon' has no valid value/],
  ['commit=-1', /no valid value/],
  ['commit=901', /out of range/],
  ['umask=9', /no valid value/],
  ['umask=7777', /out of range/],
  ['uid=', /no valid value/],
  ['barrier=2', /no valid value/],
  ['cache_bytes=lots', /no valid value/],
  ['data_err=x', /no valid value/],
];

describe('parseMountOptions', () => {
  test.each(RIGHT)('reads %j', (text, options) => {
    expect(parseMountOptions(text)).toEqual(options);
  });

  test.each(WRONG)('refuses %j', (text, reason) => {
    expect(() => parseMountOptions(text)).toThrow(reason);
    expect(() => parseMountOptions(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});

describe('mount options', () => {
  const device = memoryDevice(1 << 16);
  const wrong: [unknown, RegExp][] = [
    [{ sync: true }, /EINVAL.*unknown mount option 'sync'/],
    [{ ro: 1 }, /"options.ro" property must be of type boolean. Received type number \(1\)/],
    [{ data: 'fast' }, /'options.data' must be one of/],
    [{ commit: 1.5 }, /"options.commit" is out of range/],
    [{ cacheBytes: '64M' }, /"options.cacheBytes" property must be of type number/],
    [{ journalDevice: {} }, /"options.journalDevice" property/],
    [{ umask: 0o1000 }, /out of range/],
    ['ro', /"options" argument must be of type object/],
    [null, /"options" argument/],
  ];

  test.each(wrong)('%j is refused', (options, reason) => {
    expect(() => mountSync(device, options as never)).toThrow(reason);
  });

  test('that are undefined are not set', () => {
    const options = { ro: undefined, data: undefined };
    expect(() => mountSync(device, options)).toThrow(/superblock|mount/);
  });
});
