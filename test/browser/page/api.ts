// Checks of what the API gives beyond plain reading, on fs.img: text in all encodings, positions, streams, handles,
// views, attributes, extents, errors. All of them run on shared memory and on plain.

import { type Ext4, Ext4Error, type View } from 'ext4-wasm';
import { type Check, equal, fails, sha256, sharedCopy, thrown, truthy } from './report.ts';

export interface Known {
  big: { size: number; sha256: string };
  /** The attributes of the manifest. */
  xattrs: { note: string; long: string };
  readme: string;
}

export async function checkApi(check: Check, fs: Ext4, known: Known): Promise<void> {
  await checkText(check, fs, known);
  await checkReading(check, fs, known);
  await checkStreams(check, fs, known);
  await checkInside(check, fs, known);
  await checkErrors(check, fs);
}

async function checkText(check: Check, fs: Ext4, { readme }: Known): Promise<void> {
  const { promises } = fs;
  await check('decodes text in every encoding', async () => {
    equal(await promises.readFile('/README.txt', 'utf8'), readme);
    equal(await promises.readFile('/docs/bom.txt', 'utf8'), '\ufeffwith a byte order mark');
    equal(await promises.readFile('/docs/utf16.txt', 'utf16le'), 'UTF-16 ∑');
    equal(await promises.readFile('/tiny', 'hex'), '6c69657320696e2069747320696e6f6465');
    equal(await promises.readFile('/tiny', 'base64'), btoa('lies in its inode'));
    equal(await promises.readFile('/tiny', 'latin1'), 'lies in its inode');
  });
  await check('finds names of every kind', async () => {
    const names = await promises.readdir('/names');
    truthy(names.includes('Größe 日本語 🐧.txt'), 'the unicode name');
    truthy(names.includes('n'.repeat(255)), 'the longest name');
    equal(await promises.readFile('/names/Größe 日本語 🐧.txt', 'utf8'), 'unicode');
    equal(await promises.readFile('/many/file-0642', 'utf8'), 'number 642\n');
    equal(await promises.realpath('/links/absolute directory'), '/docs/deep');
    equal(await promises.readFile('/links/long', 'utf8'), readme);
  });
  await check('opendir iterates, callbacks call back', async () => {
    let count = 0;
    for await (const _ of await promises.opendir('/many')) count++;
    equal(count, 700);
    const text = await new Promise((resolve, reject) =>
      fs.readFile('/tiny', 'utf8', (error, data) => (error ? reject(error) : resolve(data))),
    );
    equal(text, 'lies in its inode');
  });
}

async function checkReading(check: Check, fs: Ext4, { big }: Known): Promise<void> {
  await check('reads at any position, into shared and own memory', async () => {
    const whole = await fs.promises.readFile('/big.bin');
    const handle = await fs.promises.open('/big.bin');
    let x = 12345;
    for (let i = 0; i < 300; i++) {
      x = (Math.imul(x, 1103515245) + 12345) >>> 0;
      const pos = x % big.size;
      const into = sharedCopy(new Uint8Array(1 + (x % 9000)));
      const { bytesRead } = await handle.read(into, 0, into.length, pos);
      equal(bytesRead, Math.min(into.length, big.size - pos));
      equal(into.subarray(0, bytesRead), whole.subarray(pos, pos + bytesRead), `at ${pos}`);
    }
    await handle.close();
  });
  await check('reads much at once, into shared and own memory', async () => {
    const handle = await fs.promises.open('/big.bin');
    for (const make of [sharedCopy, (bytes: Uint8Array) => bytes]) {
      const into = make(new Uint8Array(big.size + 5000));
      const { bytesRead } = await handle.read(into, 3000, big.size + 2000, 0);
      equal(bytesRead, big.size);
      equal(await sha256(into.subarray(3000, 3000 + big.size)), big.sha256);
      equal(into.subarray(0, 3000), new Uint8Array(3000), 'bytes before');
      equal(into.subarray(3000 + big.size), new Uint8Array(2000), 'bytes behind');
    }
    await handle.close();
  });
  await check('shows holes', async () => {
    const { seekHole, seekData, extents } = fs.promises;
    equal(await seekHole('/sparse.bin', 0), 65536);
    equal(await seekData('/sparse.bin', 65536), 4 << 20);
    const found = await extents('/sparse.bin');
    equal(
      found.map(({ lblk }) => lblk),
      [0, 1024],
    );
  });
}

async function checkStreams(check: Check, fs: Ext4, { big, readme }: Known): Promise<void> {
  await check('streams a file', async () => {
    const bytes = await new Response(fs.stream('/big.bin')).arrayBuffer();
    equal(await sha256(new Uint8Array(bytes)), big.sha256);
    const part = fs.stream('/big.bin', { start: 1000, end: 4_999_999, highWaterMark: 1 << 20 });
    equal((await new Response(part).arrayBuffer()).byteLength, 4_999_000);
  });
  await check('streams into DecompressionStream', async () => {
    const stream = fs.stream('/docs/lines.txt.gz') as ReadableStream<Uint8Array<ArrayBuffer>>;
    const text = await new Response(stream.pipeThrough(new DecompressionStream('gzip'))).text();
    equal(text, 'one\ntwo\nthree\n'.repeat(5000));
  });
  await check('reads lines', async () => {
    const lines: string[] = [];
    const handle = await fs.promises.open('/README.txt');
    for await (const line of handle.readLines()) lines.push(line);
    equal(lines, readme.trimEnd().split('\n'));
  });
  await check('root is a FileSystemDirectoryHandle', () => checkHandles(fs, readme));
}

async function checkHandles({ root }: Ext4, readme: string): Promise<void> {
  const names: string[] = [];
  for await (const [name, handle] of root.entries()) names.push(`${handle.kind} ${name}`);
  truthy(names.includes('directory docs') && names.includes('file README.txt'), 'entries');
  const docs = await root.getDirectoryHandle('docs');
  const handle = await docs.getFileHandle('hard link');
  const file = await handle.getFile();
  equal([file.name, file.size], ['hard link', new TextEncoder().encode(readme).length]);
  equal(await file.text(), readme);
  equal(await file.slice(0, 4).text(), 'ext4');
  equal(await new Response(file.stream()).text(), readme);
  equal(await new Blob([await file.arrayBuffer()]).text(), readme);
  equal(await root.resolve(handle), ['docs', 'hard link']);
  truthy(await docs.isSameEntry(await root.getDirectoryHandle('docs')), 'isSameEntry');
  const missing = await thrown(() => root.getFileHandle('nowhere'));
  truthy(missing instanceof DOMException && missing.name === 'NotFoundError', 'NotFoundError');
  const kind = await thrown(() => root.getFileHandle('docs'));
  equal(kind.name, 'TypeMismatchError');
}

async function checkInside(check: Check, fs: Ext4, { xattrs, big }: Known): Promise<void> {
  await check('shows attributes', async () => {
    const { getxattr, listxattr } = fs.promises;
    const encoder = new TextEncoder();
    equal(await listxattr('/README.txt'), ['user.note']);
    equal(await getxattr('/README.txt', 'user.note'), encoder.encode(xattrs.note));
    equal(await sha256(await getxattr('/big.bin', 'user.long')), xattrs.long);
    const name = sharedCopy(encoder.encode('user.note'));
    equal(await getxattr('/README.txt', name), encoder.encode(xattrs.note));
  });
  await check('knows the volume', async () => {
    const { label, blockSize, features } = fs.info();
    equal([label, blockSize], ['main', 4096]);
    truthy(JSON.stringify(features).includes('metadata_csum'), 'features');
    equal((await fs.promises.statfs('/')).bsize, 4096);
    equal(await fs.promises.dataPath('/tiny'), 'inline');
  });
  await check('views without copying', async () => {
    const [view, last, inline] = [
      await fs.promises.view('/big.bin', 8192, 65536),
      await fs.promises.view('/big.bin', big.size - 100),
      await fs.promises.view('/tiny'),
    ];
    truthy(view.zeroCopy && view.bytes, 'zero-copy');
    equal(view.bytes.buffer === view.memory.buffer, true, 'the bytes lie in the memory');
    equal([last.length, inline.copy().length], [100, 17]);
    equal(view.copy(), (await fs.promises.readFile('/big.bin')).subarray(8192, 8192 + 65536));
    truthy(view.copy().buffer instanceof ArrayBuffer, 'a copy can be given to anyone');
    for (const one of [view, last, inline]) one.release();
    view.release();
    equal(fs.counters().leases, 0);
  });
}

async function checkErrors(check: Check, fs: Ext4): Promise<void> {
  const { promises } = fs;
  await check('errors are as in Node', async () => {
    const error = await fails('ENOENT', () => promises.readFile('/nowhere'));
    truthy(error instanceof Ext4Error, 'Ext4Error');
    equal(error.message, "ENOENT: no such file or directory, open '/nowhere'");
    await fails('ENOTDIR', () => promises.stat('/tiny/x'));
    await fails('EISDIR', () => promises.readFile('/docs'));
    await fails('ENOENT', () => promises.stat('/links/dangling'));
    await fails('ENODATA', () => promises.getxattr('/tiny', 'user.none'));
  });
  await check('nothing is written to a read-only mount', async () => {
    await fails('EROFS', () => promises.writeFile('/new', 'x'));
    await fails('EROFS', () => promises.unlink('/tiny'));
  });
}

/** Ends a mount and shows that it let go of everything. */
export async function checkUnmount(check: Check, fs: Ext4): Promise<void> {
  await check('unmounts with no pin, lease or file left', async () => {
    const { pins, leases, openFiles, deviceReads, deviceReadBytes } = fs.counters();
    equal({ pins, leases, openFiles }, { pins: 0, leases: 0, openFiles: 0 });
    await fs.unmount();
    equal(fs.counters().pins, 0);
    await fails('ENODEV', () => fs.promises.stat('/'));
    return `${deviceReads} device reads, ${(deviceReadBytes / 2 ** 20).toFixed(1)} MiB`;
  });
}

/** Whether a view's memory is shared: without isolation the class has no name, its objects still have. */
export function isShared({ memory }: View): boolean {
  return Object.prototype.toString.call(memory.buffer) === '[object SharedArrayBuffer]';
}
