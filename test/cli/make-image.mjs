// Makes ts/cli/image.ts, the image that `npm start` shows: a tree with something of everything, made by mke2fs,
// finished by debugfs (xattrs, odd times), e2fsck -D (the htree) and debugfs again (a file that is only in the
// journal), and the manifest of what it must read as: the kernel's view of it through a loop mount, after its own
// recovery. Needs root, loop devices, e2fsprogs, python3. Run:
//   node test/cli/make-image.mjs

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliCompressSync, constants, deflateSync } from 'node:zlib';

const TIME = 1_700_000_000; // 2023-11-14: nothing comes from the clock
const work = mkdtempSync(join(tmpdir(), 'ext4-image-'));
const tree = join(work, 'tree');
const image = join(work, 'fs.img');
const out = new URL('../../ts/cli/image.ts', import.meta.url);

const env = {
  ...process.env,
  E2FSPROGS_FAKE_TIME: String(TIME),
  E2FSCK_TIME: String(TIME),
  PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
};
const run = (command, ...args) =>
  execFileSync(command, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

function put(path, contents, mode = 0o644) {
  const full = join(tree, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, contents);
  chmodSync(full, mode);
}

// --- pictures: real PNG and PPM files, drawn here

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

function chunk(type, body) {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const head = Buffer.alloc(4);
  const tail = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  tail.writeUInt32BE(crc32(named));
  return Buffer.concat([head, named, tail]);
}

/** A PNG with a palette of 256 colours; `paint(x, y)` gives the index. */
function png(width, height, palette, paint) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3, 0, 0, 0], 8);
  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = paint(x, y);
  }
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const plte = Buffer.from(Array.from({ length: 256 }, (_, i) => palette(i)).flat());
  const idat = deflateSync(rows, { level: 9 });
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('PLTE', plte),
    chunk('IDAT', idat),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

const fire = (i) => [
  Math.min(255, i * 3),
  Math.max(0, Math.min(255, i * 3 - 255)),
  Math.max(0, i * 3 - 510),
];
const sea = (i) => [i >> 2, (i * 3) >> 2, 255 - (i >> 1)];
const grey = (i) => [i, i, i];

function mandelbrot(size) {
  return (px, py) => {
    const [cx, cy] = [(px / size) * 3 - 2.2, (py / size) * 3 - 1.5];
    let [x, y, n] = [0, 0, 0];
    while (x * x + y * y < 4 && n < 24) [x, y, n] = [x * x - y * y + cx, 2 * x * y + cy, n + 1];
    return n === 24 ? 0 : 60 + n * 8;
  };
}

function ppm(width, height) {
  const body = Buffer.alloc(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) body.set([255 - y, (x & 16) * 8, y * 2], (y * width + x) * 3);
  }
  return Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), body]);
}

// --- the tree

function plant() {
  put(
    'README.txt',
    'This file system lives inside the ext4 command. Everything here was written by\n' +
      'mke2fs; the list of what must come out was read by the Linux kernel.\n',
  );
  put('etc/hostname', 'wonderland\n');
  put('etc/os-release', 'NAME="A small world"\nID=small\nVERSION_ID=1\n');
  put(
    'etc/passwd',
    'root:x:0:0:root:/root:/bin/sh\nada:x:1815:1815:Ada Lovelace:/home/ada:/bin/sh\n',
  );
  put('etc/group', 'root:x:0:\nada:x:1815:\nphotos:x:44:ada\n');
  put('etc/shadow', 'root:*:19675:0:99999:7:::\n', 0o640);
  put('home/ada/notes.md', '# Notes\n\nThe engine might act upon other things besides number.\n');
  put('home/ada/.profile', 'export EDITOR=ed\n');
  put('home/ada/a directory/with/depth/enough/to/walk/bottom.txt', 'You found it.\n');
  put('home/ada/Grüße aus 世界 🌍.txt', 'Names are bytes; these are UTF-8.\n');
  put('usr/bin/hello', '#!/bin/sh\necho hello\n', 0o755);
  put('usr/bin/su', '#!/bin/sh\nexit 1\n', 0o4755);
  put('usr/share/words', Array.from({ length: 400 }, (_, i) => `word ${i * i}\n`).join(''));
  put('var/log/empty.log', '');
  put('pictures/mandelbrot.png', png(96, 96, fire, mandelbrot(96)));
  put(
    'pictures/waves.png',
    png(64, 64, sea, (x, y) => (Math.sin(x / 5) + Math.sin(y / 9)) * 60 + 128),
  );
  put(
    'pictures/rings.png',
    png(64, 64, grey, (x, y) => Math.sin(Math.hypot(x - 32, y - 32) / 2) * 120 + 128),
  );
  put('pictures/gradient.ppm', ppm(128, 96));
  put('tiles/world.raw', tiles(32));
  symlinkSync('hello', join(tree, 'usr/bin/hi'));
  symlinkSync('/etc/hostname', join(tree, 'home/ada/host'));
  symlinkSync(`${'far/'.repeat(40)}away`, join(tree, 'home/ada/long-link'));
  linkSync(join(tree, 'pictures/mandelbrot.png'), join(tree, 'home/ada/wallpaper.png'));
  for (let i = 0; i < 1000; i++)
    put(`many/entry-${String(i).padStart(4, '0')}.txt`, i % 50 === 0 ? 'fifty\n' : '');
  mkdirSync(join(tree, 'dev'));
  run('mknod', join(tree, 'dev/null'), 'c', '1', '3');
  run('mknod', join(tree, 'dev/sda1'), 'b', '8', '1');
  run('mknod', join(tree, 'dev/tty63'), 'c', '4', '63');
  run('mkfifo', join(tree, 'dev/initctl'));
  plantSparse(join(tree, 'var/sparse.img'));
}

/** 256 KiB tiles, alike but for their numbers: plenty of bytes that take little room in the source. */
function tiles(count) {
  const tile = Buffer.alloc(256 << 10);
  for (let i = 0; i < tile.length; i++) tile[i] = (i >> 10) ^ (i & 255);
  return Buffer.concat(
    Array.from({ length: count }, (_, n) => {
      tile.write(`tile ${String(n).padStart(3, '0')}`);
      return Buffer.from(tile);
    }),
  );
}

function plantSparse(path) {
  const fd = openSync(path, 'w');
  writeSync(fd, 'start\n', 0);
  writeSync(fd, 'the middle of 40 MiB of nothing\n', 20 << 20);
  closeSync(fd);
  truncateSync(path, 40 << 20);
}

/** Owners and times; a directory after what is in it. */
function settle(path, rel) {
  const facts = lstatSync(path);
  if (facts.isDirectory())
    for (const name of readdirSync(path)) settle(join(path, name), `${rel}/${name}`);
  if (rel.startsWith('/home/ada')) run('chown', '-h', '1815:1815', path);
  if (rel.startsWith('/pictures')) chownSync(path, 1815, 44);
  (facts.isSymbolicLink() ? lutimesSync : utimesSync)(path, TIME, TIME);
}

function make() {
  run(
    'mke2fs',
    '-q',
    '-t',
    'ext4',
    '-b',
    '4096',
    '-I',
    '256',
    '-N',
    '1280',
    '-L',
    'small-world',
    '-U',
    '5eed5eed-0000-4000-8000-00000000e4e4',
    '-J',
    'size=4',
    '-m',
    '0',
    '-E',
    'hash_seed=5eed5eed-0000-4000-8000-00000000e4e5,lazy_itable_init=0,root_owner=0:0',
    '-d',
    tree,
    image,
    '24M',
  );
  // What mke2fs -d cannot say: fractions of a second, years that need more than 32 bits, attributes.
  const acl = join(work, 'acl');
  writeFileSync(
    acl,
    Buffer.from(
      '0200000001000600ffffffff020004001707000004000400ffffffff10000400ffffffff20000000ffffffff',
      'hex',
    ),
  );
  const capability = join(work, 'cap');
  writeFileSync(capability, Buffer.from('0100000200200000000000000000000000000000', 'hex'));
  const script = join(work, 'script');
  writeFileSync(
    script,
    [
      ...[...walk('')].map((path) => `set_inode_field "${path}" ctime @${TIME}`),
      'set_inode_field /etc/hostname mtime_extra 0x1d6f3454', // .123456789
      'set_inode_field /home/ada/notes.md mtime @-126143999',
      'set_inode_field /usr/share/words mtime @5000000000',
      'ea_set /pictures/mandelbrot.png user.caption "z = z^2 + c"',
      'ea_set /pictures/waves.png user.caption "sea"',
      `ea_set -f ${capability} /usr/bin/hello security.capability`,
      `ea_set -f ${acl} /etc/shadow system.posix_acl_access`,
    ].join('\n'),
  );
  run('debugfs', '-w', '-f', script, image);
  try {
    run('e2fsck', '-fyD', image);
  } catch (error) {
    if (error.status !== 1) throw error; // 1: changed, as it should
  }
  run('e2fsck', '-fn', image);
  saveInJournal(
    '/home/ada/just-saved.txt',
    'Saved a moment before the power went: so far only in the journal.\n',
  );
}

function* walk(rel) {
  for (const entry of readdirSync(join(tree, rel), { withFileTypes: true })) {
    yield `${rel}/${entry.name}`;
    if (entry.isDirectory()) yield* walk(`${rel}/${entry.name}`);
  }
}

/** A file whose every block, its inode's and directory's too, is in the journal and not yet home. */
function saveInJournal(path, contents) {
  const after = join(work, 'after.img');
  const file = join(work, 'late');
  const blocks = join(work, 'blocks');
  writeFileSync(file, contents);
  copyFileSync(image, after);
  const script = join(work, 'late-script');
  const field = (name, value) => `set_inode_field ${path} ${name} ${value}`;
  const fields = ['mtime', 'ctime', 'atime', 'crtime'].map((name) => field(name, `@${TIME + 60}`));
  const ids = [field('uid', 1815), field('gid', 1815), field('mode', '0100644')];
  writeFileSync(script, [`write ${file} ${path}`, ...fields, ...ids].join('\n'));
  run('debugfs', '-w', '-f', script, after);
  run('e2fsck', '-fn', after);
  const [old, now] = [readFileSync(image), readFileSync(after)];
  const changed = [];
  for (let pos = 0; pos < old.length; pos += 4096) {
    if (!old.subarray(pos, pos + 4096).equals(now.subarray(pos, pos + 4096)))
      changed.push(pos / 4096);
  }
  writeFileSync(blocks, Buffer.concat(changed.map((n) => now.subarray(n * 4096, n * 4096 + 4096))));
  writeFileSync(
    script,
    ['journal_open', `journal_write -b ${changed} ${blocks}`, 'journal_close'].join('\n'),
  );
  run('debugfs', '-w', '-f', script, image);
}

// --- what must come out, by the kernel: see ts/cli/verify.ts for the columns

const DUMP = `
import hashlib, os, stat, sys
def line(path, name):
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    what = ''
    if kind == stat.S_IFREG: what = hashlib.sha256(open(path, 'rb').read()).hexdigest()
    if kind == stat.S_IFLNK: what = os.readlink(path)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        what = '%d,%d' % (os.major(s.st_rdev), os.minor(s.st_rdev))
    xattrs = [k + '=' + os.getxattr(path, k, follow_symlinks=False).hex()
              for k in sorted(os.listxattr(path, follow_symlinks=False))]
    size = s.st_size if kind == stat.S_IFREG else 0
    owner = '%d:%d' % (s.st_uid, s.st_gid)
    print('\\t'.join([name, '%o' % s.st_mode, owner, str(s.st_nlink), str(size),
                     str(s.st_mtime_ns), what, ' '.join(xattrs)]))
    if kind == stat.S_IFDIR:
        for n in sorted(os.listdir(path), key=os.fsencode):
            if n != 'lost+found':
                line(os.path.join(path, n), name.rstrip('/') + '/' + n)
line(sys.argv[1], '/')
`;

function manifest() {
  const mountPoint = join(work, 'mnt');
  mkdirSync(mountPoint);
  const copy = join(work, 'copy.img'); // the kernel writes when it recovers
  copyFileSync(image, copy);
  run('mount', '-o', 'loop,noatime', copy, mountPoint);
  try {
    return run('python3', '-c', DUMP, mountPoint);
  } finally {
    run('umount', mountPoint);
  }
}

const pack = (bytes) =>
  brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 24,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  }).toString('base64');

function literal(name, text) {
  const lines = text.match(/.{1,98}/g).join('\n');
  return `const ${name} = \`\n${lines}\n\`;\n`;
}

plant();
settle(tree, '');
make();
const list = manifest();
writeFileSync(
  out,
  `// A small ext4 and the list of what is in it, both brotli in base64.
// Made by test/cli/make-image.mjs: do not edit.

import { brotliDecompressSync } from 'node:zlib';

${literal('IMAGE', pack(readFileSync(image)))}
${literal('MANIFEST', pack(Buffer.from(list)))}
const unpack = (text: string): Buffer => brotliDecompressSync(Buffer.from(text, 'base64'));

/** The image, 24 MiB. */
export function embeddedImage(): Buffer {
  return unpack(IMAGE);
}

/** What the Linux kernel reads in it, a line a file. */
export function embeddedManifest(): string {
  return unpack(MANIFEST).toString('utf8');
}
`,
);
console.log(`image.ts: ${readFileSync(out).length} bytes for ${list.split('\n').length - 1} files`);
rmSync(work, { recursive: true });
