// Goal: the calls that write say and do what node:fs says and does: every shape of arguments, what is refused and how,
// cp with all its options. Method: one list of calls, made on a tree by node:fs and on an image of it by a mount, in
// the three forms; outcomes are compared call by call, then both trees.

import nodefs from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, mount, mountSync } from '../../ts/index.ts';
import { need } from '../need.ts';
import { type AnyFs, contents, lines, pathsOf } from './changes.ts';
import { asyncOnly, type Fixture, makeFixture } from './fixture.ts';
import { attempt, attemptAsync, attemptCallback, type Outcome } from './outcome.ts';

type Call = [name: string, ...args: unknown[]];
/** Stands for a descriptor of '/opened', open for reading and writing. */
const FD = { fd: true };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const u16 = Uint16Array.of(0x4142, 0x4344, 0x4546);
const view = new DataView(Uint8Array.of(1, 2, 3, 4, 5).buffer, 1, 3);

const WRITES: Call[] = [
  ['write', FD, bytes('plain')],
  ['write', FD, bytes('abcdef'), 2],
  ['write', FD, bytes('abcdef'), 2, 3],
  ['write', FD, bytes('abcdef'), 2, 3, 100],
  ['write', FD, bytes('abcdef'), null, null, 7],
  ['write', FD, bytes('abcdef'), { offset: 1, length: 2, position: 50 }],
  ['write', FD, bytes('abcdef'), { offset: 4 }],
  ['write', FD, bytes('abcdef'), {}],
  ['write', FD, u16],
  ['write', FD, u16, 1, 4],
  ['write', FD, view],
  ['write', FD, new Uint8Array(0)],
  ['write', FD, bytes('x'), 0, 0],
  ['write', FD, bytes('neg'), 0, 3, -1],
  ['write', FD, bytes('frac'), 0, 3, 1.5],
  ['write', FD, bytes('nan'), 0, 3, Number.NaN],
  ['write', FD, bytes('x'), -1],
  ['write', FD, bytes('x'), 2],
  ['write', FD, bytes('x'), 1.5],
  ['write', FD, bytes('x'), '0'],
  ['write', FD, bytes('xyz'), 1, 3],
  ['write', FD, bytes('xyz'), 0, -1],
  ['write', FD, 'text ünï'],
  ['write', FD, 'at', 300],
  ['write', FD, 'null', null, 'utf8'],
  ['write', FD, '6869', 310, 'hex'],
  ['write', FD, '686', 310, 'hex'],
  ['write', FD, 'aGk=', 320, 'base64'],
  ['write', FD, 'hi', 330, 'utf16le'],
  ['write', FD, 'hi', 330, 'nonsense'],
  ['write', FD, 5],
  ['write', FD, null],
  ['write', FD, { toString: () => 'x' }],
  ['write', FD, ['x']],
  ['write', 9999, bytes('x')],
  ['write', -1, bytes('x')],
  ['write', '3', bytes('x')],
  ['writev', FD, [bytes('one'), bytes('two')]],
  ['writev', FD, [bytes('one'), u16, view], 400],
  ['writev', FD, [bytes('one')], null],
  ['writev', FD, [bytes('one')], '5'],
  ['writev', FD, []],
  ['writev', FD, [new Uint8Array(0)]],
  ['writev', FD, 'text'],
  ['writev', FD, ['text']],
  ['writev', 9999, [bytes('x')]],
  ['ftruncate', FD, 50],
  ['ftruncate', FD, 5000],
  ['ftruncate', FD, -5],
  ['ftruncate', FD, 1.5],
  ['ftruncate', FD, '5'],
  ['ftruncate', FD, 2 ** 52],
  ['ftruncate', 9999, 5],
  ['fsync', FD],
  ['fdatasync', FD],
  ['fsync', 9999],
  ['fsync', 'x'],
  ['writeFile', FD, 'the rest'],
  ['appendFile', FD, bytes('more')],
];

const FILES: Call[] = [
  ['writeFile', '/new', 'text'],
  ['writeFile', '/new', bytes('bytes')],
  ['writeFile', '/new', u16],
  ['writeFile', '/new', view],
  ['writeFile', '/new', 'ünï', 'latin1'],
  ['writeFile', '/new', '68690', 'hex'],
  ['writeFile', '/new', 'x', 'nonsense'],
  ['writeFile', '/new', 'x', { encoding: 'utf16le' }],
  ['writeFile', '/moded', 'x', { mode: 0o600 }],
  ['writeFile', '/moded2', 'x', { mode: '640' }],
  ['writeFile', '/moded3', 'x', { mode: 'rw' }],
  ['writeFile', '/new', 'x', { flag: 'wx' }],
  ['writeFile', '/new', 'yy', { flag: 'a' }],
  ['writeFile', '/new', 'zz', { flag: 'r+' }],
  ['writeFile', '/new', 'zz', { flag: 'r' }],
  ['writeFile', '/new', '', { flag: 'r' }],
  ['writeFile', '/new', 'zz', { flag: 'odd' }],
  ['writeFile', '/new', bytes('flushed'), { flush: true }],
  ['writeFile', '/new', bytes('x'), { flush: 1 }],
  ['writeFile', '/new', 5],
  ['writeFile', '/new', undefined],
  ['writeFile', '/dir', 'x'],
  ['writeFile', '/dir/none/x', 'x'],
  ['writeFile', '/file/x', 'x'],
  ['writeFile', '/link', 'through a link'],
  ['writeFile', '/loop', 'x'],
  ['writeFile', '', 'x'],
  ['writeFile', '/new', '', { signal: AbortSignal.abort('why') }],
  ['writeFile', 9999, 'x'],
  ['appendFile', '/new', ' and more'],
  ['appendFile', '/fresh', 'made'],
  ['appendFile', '/new', bytes('x'), { flag: 'w' }],
  ['appendFile', '/dir', 'x'],
  ['truncate', '/big.bin', 1000],
  ['truncate', '/big.bin', 70_000],
  ['truncate', '/big.bin'],
  ['truncate', '/dir', 0],
  ['truncate', '/none', 0],
  ['truncate', '/big.bin', 'x'],
  ['copyFile', '/file', '/copy'],
  ['copyFile', '/sparse', '/copy2'],
  ['copyFile', '/link', '/copy3'],
  ['copyFile', '/file', '/copy', 1],
  ['copyFile', '/file', '/copy', 2],
  ['copyFile', '/file', '/copy', 8],
  ['copyFile', '/file', '/copy', 'x'],
  ['copyFile', '/file', '/copy', 0.5],
  ['copyFile', '/file', '/copy', Number.NaN],
  ['copyFile', '/file', '/file'],
  ['copyFile', '/file', '/dir/hardlink'],
  ['copyFile', '/dir', '/copy5'],
  ['copyFile', '/file', '/dir'],
  ['copyFile', '/none', '/copy5'],
  ['copyFile', '/file', '/none/x'],
  ['copyFile', '/dir/text.txt', '/copy6'],
];

const CP: Call[] = [
  ['cp', '/file', '/cp1'],
  ['cp', '/file', '/cp1'],
  ['cp', '/lines', '/cp1', { force: false }],
  ['cp', '/lines', '/cp1', { force: false, errorOnExist: true }],
  ['cp', '/lines', '/cp1', { errorOnExist: true }],
  ['cp', '/file', '/cp2', { preserveTimestamps: true }],
  ['cp', '/file', '/made/up/file'],
  ['cp', '/file', '/cp1', { mode: 1 }],
  ['cp', '/file', '/cp9', { mode: 9 }],
  ['cp', '/dir', '/cpdir'],
  ['cp', '/dir', '/cpdir', { recursive: true }],
  ['cp', '/dir', '/cpdir', { recursive: true }],
  ['cp', '/dir', '/cpdir2', { recursive: true, verbatimSymlinks: true }],
  ['cp', '/dir', '/cpdir3', { recursive: true, dereference: true }],
  ['cp', '/dir', '/cpdir4', { recursive: true, filter: (src: string) => !src.includes('sub') }],
  ['cp', '/dir', '/cpdir5', { recursive: true, filter: () => false }],
  ['cp', '/dir', '/cpdir5', { recursive: true, preserveTimestamps: true }],
  ['cp', '/dir', '/dir/inside', { recursive: true }],
  ['cp', '/dir', '/dirlink/inside', { recursive: true }],
  ['cp', '/dir', '/dir', { recursive: true }],
  ['cp', '/dir', '/file', { recursive: true }],
  ['cp', '/file', '/dir'],
  ['cp', '/file', '/file'],
  ['cp', '/link', '/cplink'],
  ['cp', '/link', '/cplink'],
  ['cp', '/link', '/cplink2', { dereference: true }],
  ['cp', '/dir/up', '/cplink3', { verbatimSymlinks: true }],
  ['cp', '/dir/up', '/cplink4'],
  ['cp', '/dirlink', '/cplink5'],
  ['cp', '/dirlink', '/cplink5'],
  ['cp', '/broken', '/cpbroken'],
  ['cp', '/broken', '/cpbroken'],
  ['cp', '/fifo', '/cpfifo'],
  ['cp', '/none', '/x'],
  ['cp', '/file', '/x', { dereference: true, verbatimSymlinks: true }],
  ['cp', '/file', '/x', { force: 1 }],
  ['cp', '/file', '/x', { filter: 'x' }],
  ['cp', '/file', '/x', null],
  ['cp', 5, '/x'],
  ['cp', '/file', 5],
];

type Form = 'sync' | 'promise' | 'callback';

const KINDS: { form: Form; open(image: string): Promise<Ext4> | Ext4 }[] = [
  { form: 'sync', open: (image) => mountSync(openFile(image)) },
  { form: 'promise', open: (image) => mount(asyncOnly(openFile(image))) },
  { form: 'callback', open: (image) => mountSync(openFile(image), { forceMiss: true }) },
];

need.describe('writing', [need.tool('mke2fs')], () => {
  describe.each(KINDS)('$form', ({ form, open }) => {
    let fixture: Fixture;
    let fs: Ext4;
    beforeEach(async () => {
      fixture = makeFixture(['-O', 'has_journal']);
      fs = await open(fixture.image);
    });
    afterEach(async () => {
      await fs.unmount();
      fixture.remove();
    });

    /** Names, types, modes, sizes and contents; what is a directory's own time or size is nobody's. */
    async function tree(from: unknown, root: string): Promise<string[]> {
      const own = from as typeof nodefs;
      if (from === nodefs || form !== 'promise') {
        const all = lines(own, root).filter((line) => !line.startsWith('/fifo'));
        return [
          ...all.map((line) => line.replaceAll(root, '')),
          ...contents(own, root, pathsOf(all)),
        ];
      }
      // An asynchronous mount is looked at through a second one.
      await fs.sync();
      const seen = mountSync(openFile(fixture.image, { readOnly: true }));
      const all = lines(seen as unknown as typeof nodefs, '').filter(
        (line) => !line.startsWith('/fifo'),
      );
      const found = [...all, ...contents(seen as unknown as typeof nodefs, '', pathsOf(all))];
      seen.unmountSync();
      return found;
    }

    /** The size of a link is that of its target, which on the host has the tree's place in it. */
    const unsized = (all: string[]): string[] =>
      all.map((line) => line.replace(/ \d+ -> /, ' -> '));

    async function both(calls: Call[]): Promise<void> {
      nodefs.writeFileSync(join(fixture.tree, 'opened'), '0123456789');
      for (const name of nodefs.readdirSync(fixture.tree, { encoding: 'buffer' }))
        if (name.includes(0xff))
          nodefs.unlinkSync(Buffer.concat([Buffer.from(`${fixture.tree}/`), name]));
      await fs.promises.unlink(Buffer.concat([Buffer.from('/raw-'), Buffer.of(0xff, 0xfe)]));
      const sides = [
        { from: fs as unknown as AnyFs, root: '', fd: -1 },
        { from: nodefs as unknown as AnyFs, root: fixture.tree, fd: -1 },
      ];
      await fs.promises.writeFile('/opened', '0123456789');
      const seen: Outcome[][] = [];
      for (const side of sides) {
        const { from, root } = side;
        side.fd = await opened(from, `${root}/opened`);
        const outcomes: Outcome[] = [];
        for (const [name, ...given] of calls) {
          const args = given.map((arg) => {
            if (arg === FD) return side.fd;
            return typeof arg === 'string' && arg.startsWith('/') ? root + arg : arg;
          });
          outcomes.push(await made(from, name, args, root));
        }
        seen.push(outcomes);
        await new Promise((done) => from.close(side.fd, done));
      }
      for (const [i, call] of calls.entries())
        expect(seen[0][i], `${i} ${call[0]} ${String(call.slice(1))}`).toEqual(seen[1][i]);
      expect(unsized(await tree(fs, ''))).toEqual(unsized(await tree(nodefs, fixture.tree)));
    }

    function opened(from: AnyFs, path: string): Promise<number> {
      return new Promise((done, fail) =>
        from.open(path, 'r+', (error: unknown, fd: number) => (error ? fail(error) : done(fd))),
      );
    }

    async function made(
      from: AnyFs,
      name: string,
      args: unknown[],
      root: string,
    ): Promise<Outcome> {
      if (form === 'sync') return attempt(() => from[`${name}Sync`](...args), root);
      if (form === 'promise' && name in from.promises && typeof args[0] !== 'number')
        return attemptAsync(() => from.promises[name](...args), root);
      const outcome = await attemptCallback((done) => from[name](...args, done), root);
      // Node's cp calls back with an undefined of its own.
      const ended =
        'value' in outcome && Array.isArray(outcome.value) && outcome.value.length === 2;
      return name === 'cp' && ended ? { value: [null] } : outcome;
    }

    test('to open files', () => both(WRITES));
    test('to files by name', () => both(FILES.filter((call) => inForm(call, form))));
    test('with cp', () => both(CP.filter((call) => inForm(call, form))));
  });
});

/** Left out: what is Node's own trouble, and what does not come to the file system. */
function inForm([name, path, , options]: Call, form: Form): boolean {
  // The synchronous form of text in UTF-8 ignores what is wrong with `flush`; paths of descriptors differ in messages.
  if (name === 'writeFile' && typeof path === 'number') return form !== 'promise';
  if ((options as { signal?: unknown })?.signal !== undefined) return form === 'promise';
  return true;
}

need.describe('what only promises take', [need.tool('mke2fs')], () => {
  let fixture: Fixture;
  let fs: Ext4;
  beforeEach(() => {
    fixture = makeFixture(['-O', 'has_journal']);
    fs = mountSync(openFile(fixture.image));
  });
  afterEach(async () => {
    await fs.unmount();
    fixture.remove();
  });

  async function* pieces(...parts: unknown[]) {
    for (const part of parts) {
      await new Promise((done) => setTimeout(done, 1));
      yield part;
    }
  }

  const SOURCES: [string, () => unknown][] = [
    ['generators', () => pieces('a', bytes('bc'), u16, Buffer.from('d'))],
    ['lists', () => ['x', 'yz', bytes('!')]],
    ['streams of Node', () => Readable.from(['one', 'two'])],
    ['streams of the web', () => new Blob(['blob', 'bytes']).stream()],
    ['encodings', () => pieces('6869', '21')],
  ];

  test.each(SOURCES)('%s', async (name, source) => {
    const encoding = name === 'encodings' ? 'hex' : 'utf8';
    await fs.promises.writeFile('/ours', source() as never, { encoding });
    await nodefs.promises.writeFile(join(fixture.tree, 'theirs'), source() as never, { encoding });
    const wanted = nodefs.readFileSync(join(fixture.tree, 'theirs'));
    expect(fs.readFileSync('/ours')).toEqual(wanted);
    await fs.promises.appendFile('/ours', source() as never, { encoding });
    expect(fs.readFileSync('/ours')).toEqual(Buffer.concat([wanted, wanted]));
  });

  test('an abort between two pieces ends it, and tells the source', async () => {
    const control = new AbortController();
    let ended = false;
    async function* source() {
      try {
        yield 'first';
        control.abort('enough');
        yield 'second';
      } finally {
        ended = true;
      }
    }
    const { signal } = control;
    const call = fs.promises.writeFile('/ours', source() as never, { signal });
    await expect(call).rejects.toMatchObject({ name: 'AbortError', code: 'ABORT_ERR' });
    expect([ended, fs.readFileSync('/ours', 'utf8')]).toEqual([true, 'first']);
    expect(fs.counters().openFiles).toBe(0);
  });

  test('shares no blocks between files, and says so', async () => {
    await expect(fs.promises.copyFile('/file', '/cloned', 4)).rejects.toMatchObject({
      code: 'ENOTSUP',
      errno: -95,
      syscall: 'copyfile',
    });
    expect(fs.existsSync('/cloned')).toBe(false);
  });

  test('a source that fails, or gives what is no data, fails the call', async () => {
    async function* failing() {
      yield 'x';
      throw new Error('of the source');
    }
    await expect(fs.promises.writeFile('/a', failing() as never)).rejects.toThrow('of the source');
    await expect(fs.promises.writeFile('/b', pieces('x', 5) as never)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    });
    expect(fs.counters().openFiles).toBe(0);
  });

  test('a filter of cp that takes its time', async () => {
    const asked: string[] = [];
    const filter = async (src: string) => {
      await new Promise((done) => setTimeout(done, 1));
      asked.push(src);
      return !src.endsWith('text.txt');
    };
    await fs.promises.cp('/dir', '/copied', { recursive: true, filter });
    expect(fs.existsSync('/copied/text.txt')).toBe(false);
    expect(fs.readFileSync('/copied/sub/deep/file', 'utf8')).toBe('deep');
    expect(asked).toContain('/dir/sub/deep');
    expect(() => fs.cpSync('/dir', '/again', { recursive: true, filter: filter as never })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_RETURN_VALUE' }),
    );
  });

  test('a FileHandle writes where it stands, appends and truncates', async () => {
    const file = await fs.promises.open('/handle', 'w+');
    const given = bytes('hello');
    expect(await file.write(given)).toEqual({ bytesWritten: 5, buffer: given });
    expect(await file.write(' world', null, 'utf8')).toMatchObject({ bytesWritten: 6 });
    expect(await file.writev([bytes('!'), bytes('?')], 5)).toMatchObject({ bytesWritten: 2 });
    await file.writeFile(' rest');
    await file.appendFile(pieces(' of', ' it'));
    await file.sync();
    await file.datasync();
    expect(await file.stat()).toMatchObject({ size: 22 });
    expect(fs.readFileSync('/handle', 'utf8')).toBe('hello!?orld rest of it');
    await file.truncate(5);
    await file.truncate(7);
    expect(fs.readFileSync('/handle', 'utf8')).toBe('hello\0\0');
    await file.close();
    await expect(file.write('x')).rejects.toMatchObject({ code: 'EBADF' });
  });

  test('ranges of a file are reserved, zeroed, punched, taken out and put in', async () => {
    const file = await fs.promises.open('/ranges', 'w+');
    await file.write(new Uint8Array(20_000).fill(1));
    await file.zeroRange(100, 50);
    await file.punchHole(4096, 4096);
    await file.fallocate(0, 40_000, { keepSize: true });
    expect((await file.stat()).size).toBe(20_000);
    await file.fallocate(0, 24_000);
    await file.insertRange(4096, 4096);
    await file.collapseRange(0, 4096);
    const wanted = new Uint8Array(24_000);
    wanted.fill(1, 8192, 20_000);
    expect(Buffer.compare(fs.readFileSync('/ranges'), wanted)).toBe(0);
    await expect(file.collapseRange(1, 4096)).rejects.toMatchObject({
      code: 'EINVAL',
      syscall: 'fallocate',
    });
    const other = await fs.promises.open('/other', 'w+');
    expect(await fs.promises.copyRange(file as never, 8000, other as never, 5, 1000)).toBe(1000);
    expect(
      Buffer.compare(
        fs.readFileSync('/other'),
        Buffer.concat([Buffer.alloc(5), wanted.subarray(8000, 9000)]),
      ),
    ).toBe(0);
    await other.close();
    await file.close();
  });
});
