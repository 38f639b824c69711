// A tree in a temporary directory and an image of the same tree made by mke2fs -d: what node:fs says of the first is
// what a mount has to say of the second. Also the mounts to try: synchronous, asynchronous, with forced misses, and
// on memory that is not shared.

import { execFileSync } from 'node:child_process';
import nodefs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockDevice } from '../../ts/block/device.ts';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, type MountOptions, mount, mountSync } from '../../ts/index.ts';
import { which } from '../need.ts';

export interface Fixture {
  /** The tree, as node:fs sees it. */
  tree: string;
  image: string;
  remove(): void;
}

const STAMP = 1_600_000_000; // mke2fs keeps whole seconds

/** Bytes that no two places of share: position dependent, seeded by nothing. */
export function pattern(len: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: len }, (_, i) => (i * 31 + (i >> 8) * 7) & 255));
}

function fill(tree: string): void {
  const at = (path: string) => join(tree, path);
  for (const dir of ['dir/sub/deep', 'emptydir', 'many', 'lost+found'])
    nodefs.mkdirSync(at(dir), { recursive: true });
  const files: Record<string, string | Buffer> = {
    file: 'hello world\n',
    empty: '',
    lines: 'one\r\ntwo\n\nthree\rfour äöü\nlast',
    'big.bin': pattern(300_001),
    'ünï-日本': 'name in UTF-8',
    'dir/.hidden': 'dot',
    'dir/sub/deep/file': 'deep',
    'dir/text.txt': '\ufeffwith a mark, ünï',
    [`${'n'.repeat(255)}`]: 'long name',
  };
  for (const [path, data] of Object.entries(files)) nodefs.writeFileSync(at(path), data);
  for (let i = 0; i < 300; i++) nodefs.writeFileSync(at(`many/entry-${i}`), `${i}`);
  nodefs.writeFileSync(Buffer.concat([Buffer.from(at('raw-')), Buffer.of(0xff, 0xfe)]), 'raw');
  nodefs.writeFileSync(at('sparse'), 'end', { flag: 'w' });
  const fd = nodefs.openSync(at('sparse'), 'r+');
  nodefs.writeSync(fd, 'tail', 1_000_000);
  nodefs.closeSync(fd);
  link(at);
  execFileSync('mkfifo', [at('fifo')]);
  nodefs.chmodSync(at('file'), 0o4751);
  nodefs.chmodSync(at('dir/text.txt'), 0o400);
}

function link(at: (path: string) => string): void {
  const links: Record<string, string> = {
    link: 'file',
    dirlink: 'dir',
    broken: 'nowhere/at/all',
    loop: 'loop',
    loopa: 'loopb',
    loopb: './loopa',
    chain: 'chain2',
    chain2: 'dirlink/sub',
    'dir/up': '../file',
    longlink: `${'./'.repeat(40)}file`,
  };
  for (const [path, target] of Object.entries(links)) nodefs.symlinkSync(target, at(path));
  nodefs.linkSync(at('file'), at('dir/hardlink'));
}

/** Gives everything one time, links included. */
function stamp(tree: string): void {
  execFileSync('find', [tree, '-exec', 'touch', '-h', '-d', `@${STAMP}`, '{}', '+']);
}

export function makeFixture(options: string[] = []): Fixture {
  const base = nodefs.mkdtempSync(join(tmpdir(), 'ext4-api-'));
  const tree = join(base, 'tree');
  const image = join(base, 'image');
  nodefs.mkdirSync(tree);
  fill(tree);
  stamp(tree);
  const args = [
    '-q',
    '-F',
    '-t',
    'ext4',
    '-O',
    '^has_journal',
    ...options,
    '-d',
    tree,
    image,
    '24M',
  ];
  execFileSync(which('mke2fs'), args, { stdio: ['ignore', 'ignore', 'inherit'] });
  return { tree, image, remove: () => nodefs.rmSync(base, { recursive: true, force: true }) };
}

/** The same device without its synchronous forms. */
export function asyncOnly(device: BlockDevice): BlockDevice {
  const { size, blockSize, readOnly, fua, discardZeroes } = device;
  return {
    ...{ size, blockSize, readOnly, fua, discardZeroes },
    read: (into, dpos, o) => device.read(into, dpos, o),
    write: (from, dpos, o) => device.write(from, dpos, o),
    flush: () => device.flush(),
    close: () => device.close(),
  };
}

export interface Kind {
  name: string;
  sync: boolean;
  open(image: string): Promise<Ext4>;
}

function syncKind(name: string, options: MountOptions): Kind {
  const open = async (image: string) => mountSync(openFile(image, { readOnly: true }), options);
  return { name, sync: true, open };
}

function asyncKind(name: string, options: MountOptions): Kind {
  const open = (image: string) => mount(asyncOnly(openFile(image, { readOnly: true })), options);
  return { name, sync: false, open };
}

/** Every way to mount that must make no difference. */
export const KINDS: Kind[] = [
  syncKind('synchronous', {}),
  syncKind('synchronous, forced misses', { forceMiss: true }),
  syncKind('synchronous, plain memory', { shared: false, cacheBytes: 8 << 20 }),
  asyncKind('asynchronous', {}),
  asyncKind('asynchronous, forced misses', { forceMiss: true }),
];
