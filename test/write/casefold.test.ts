// Directories whose names fold. The kernel of this machine may lack casefold: names are compared with
// the hashes that debugfs gives for them, and what is written is judged by e2fsck, which hashes every
// name, and by fsck of this library. A random trace on names with several spellings against a model that
// knows only which spellings are one name. EXT4_SEED chooses the seed.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ABI_NAME, ABI_RESULT, ABI_SEED } from '../../assembly/abi.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { foldedKey, foldName } from '../../ts/ext4/casefold.ts';
import { fsckSync, mountSync } from '../../ts/index.ts';
import { createKernels, createMemory } from '../../ts/wasm.ts';
import { random } from '../fuzz/random.ts';
import { DEEP, need, which } from '../need.ts';
import { contents, fsck, makeImage, scratch } from './images.ts';

const SEED = Number(process.env.EXT4_SEED ?? 1);
const LONG = 120_000;
const STEPS = DEEP ? 10_000 : 1_200;

const FOLD = '-E encoding=utf8 -O casefold';
const IMAGES: Record<string, { args: string; size: number }> = {
  '4 KiB': { args: `-t ext4 -b 4096 ${FOLD}`, size: 32 },
  '1 KiB, strict': {
    args: '-t ext4 -b 1024 -O casefold,metadata_csum -E encoding=utf8,encoding_flags=strict',
    size: 24,
  },
  'no metadata_csum, no journal': {
    args: `-t ext4 -b 1024 ${FOLD},^metadata_csum,^has_journal`,
    size: 24,
  },
  inline_data: { args: `-t ext4 -b 4096 -I 256 ${FOLD},inline_data`, size: 32 },
  'no dir_index': { args: `-t ext4 -b 1024 ${FOLD},^dir_index`, size: 24 },
};

type Image = ReturnType<typeof mountSync>;

function fresh(name = '4 KiB', o: Parameters<typeof mountSync>[1] = {}) {
  const device = memoryDevice(makeImage(IMAGES[name]), { sparse: true });
  const img = mountSync(device, o);
  img.mkdirSync('/fold');
  img.setFlagsSync('/fold', { casefold: true });
  return { device, img };
}

function judge(device: ReturnType<typeof fresh>['device'], where = ''): void {
  const image = contents(device);
  expect(fsck(image), where).toBe('');
  expect(fsckSync(memoryDevice(image)).problems, where).toEqual([]);
}

const code = (run: () => unknown): string => {
  try {
    run();
    return '';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? `${error}`;
  }
};

// ---- names

const FORMS = [
  (c: string) => `Aa${c}Bb`,
  (c: string) => `x\u0315${c}\u0323\u0301y`,
  (c: string) => `${c}\u0345I`,
];

/** All code points that do something when they fold, and some that do nothing. */
function codePoints(): number[] {
  const found: number[] = [];
  const step = DEEP ? 1 : 61;
  for (let c = 0x80; c < 0x110000; c++) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const char = String.fromCodePoint(c);
    const acts = /[\p{Lu}\p{Lt}\p{Mn}]|\p{Default_Ignorable_Code_Point}/u.test(char);
    const hangul = c >= 0xac00 && c < 0xd7a4;
    const changes = !hangul && char.normalize('NFD') !== char;
    if (c % step === 0 || ((acts || changes) && c < 0xe0000 && c % (DEEP ? 1 : 3) === 0))
      found.push(c);
  }
  return found;
}

function hashes(names: string[]): number[] {
  const path = scratch('commands');
  const line = (name: string) => `dx_hash -h half_md4 -c -e utf8 ${name}\n`;
  writeFileSync(path, names.map(line).join(''));
  const o = { encoding: 'latin1', maxBuffer: 2 ** 30 } as const;
  const { stdout } = spawnSync(which('debugfs'), ['-f', path], o);
  return [...stdout.matchAll(/^Hash of .* is 0x([0-9a-f]+) /gm)].map((m) =>
    Number.parseInt(m[1], 16),
  );
}

need.describe('folded names', [need.tool('mke2fs', 'debugfs')], () => {
  test(
    'hash as in e2fsprogs: cases, marks in any order, ignorables, what is newer than its Unicode',
    () => {
      const k = createKernels(createMemory(1 << 20, false));
      const names = codePoints().flatMap((c) => FORMS.map((f) => f(String.fromCodePoint(c))));
      const theirs = hashes(names);
      expect(theirs.length).toBe(names.length);
      k.exports.zero(ABI_SEED, 16);
      const wrong = names.filter((name, i) => {
        const form = foldName(new TextEncoder().encode(name));
        k.u8.set(form, ABI_NAME);
        k.exports.dirHash(1, ABI_NAME, form.length, ABI_SEED, ABI_RESULT);
        return k.dv.getUint32(ABI_RESULT, true) !== theirs[i];
      });
      expect(wrong.map(escape)).toEqual([]);
    },
    LONG,
  );

  test('that are no UTF-8 stand for themselves', () => {
    for (const raw of [
      [0x41, 0xff],
      [0x41, 0xed, 0xa0, 0x80],
      [0xc1, 0x81],
      [0x41, 0xf4, 0x90, 0x80, 0x80],
    ]) {
      expect([...foldName(Uint8Array.from(raw))]).toEqual(raw);
      expect(foldedKey(Uint8Array.from(raw))).toMatch(/^\0/);
    }
    expect([...foldName(new TextEncoder().encode('\ufffdA'))]).toEqual([0xef, 0xbf, 0xbd, 0x61]);
  });
});

// ---- directories

/** Spellings of one name each. */
const STEMS = [
  ['plain', 'PLAIN', 'Plain'],
  ['äpfel', 'ÄPFEL', 'a\u0308pfel'],
  ['straße', 'STRASSE', 'strasse'],
  ['Σίσυφος', 'ΣΊΣΥΦΟΣ', 'σίσυφοσ'],
  ['ﬁn', 'FIN', 'f\u00adin'],
  ['한글', '\u1112\u1161\u11ab\u1100\u1173\u11af', '한\u200b글'],
];
const WIDE = 'w'.repeat(120);

interface Slot {
  name: string;
  type: 'file' | 'dir';
}

/** A directory of names with several spellings, and what should be in it. */
class Trace {
  readonly slots = new Map<number, Slot>();
  readonly #img: Image;
  readonly #r: ReturnType<typeof random>;

  constructor(img: Image, seed: number) {
    this.#img = img;
    this.#r = random(seed);
  }

  #name(id: number): string {
    const stem = STEMS[id % STEMS.length];
    const tail = id % 4 === 0 ? WIDE : '-';
    return `${this.#r.pick(stem)}${this.#r.chance(0.5) ? tail : tail.toUpperCase()}${id}`;
  }

  step(): void {
    const r = this.#r;
    const id = r.int(160);
    const name = this.#name(id);
    const path = `/fold/${name}`;
    const had = this.slots.get(id);
    const k = r.int(100);
    if (k < 45) {
      const type = r.chance(0.15) ? 'dir' : 'file';
      const make = () =>
        type === 'dir' ? this.#img.mkdirSync(path) : this.#img.mknodSync(path, 0o100644);
      expect(code(make), name).toBe(had ? 'EEXIST' : '');
      if (!had) this.slots.set(id, { name, type });
    } else if (k < 70) {
      const drop = () =>
        had?.type === 'dir' ? this.#img.rmdirSync(path) : this.#img.unlinkSync(path);
      expect(code(drop), name).toBe(had ? '' : 'ENOENT');
      this.slots.delete(id);
    } else if (k < 90) this.#rename(id, name, r.int(160));
    else
      expect(
        code(() => this.#img.statSync(path)),
        name,
      ).toBe(had ? '' : 'ENOENT');
  }

  #rename(id: number, name: string, to: number): void {
    const next = this.#name(to);
    const had = this.slots.get(id);
    const over = this.slots.get(to);
    const got = code(() => this.#img.renameSync(`/fold/${name}`, `/fold/${next}`));
    const where = `${name} to ${next}`;
    if (had === undefined) return expect(got, where).toBe('ENOENT');
    if (id === to) return expect(got, where).toBe('');
    if (over && had.type !== over.type) {
      return expect(got, where).toBe(had.type === 'dir' ? 'ENOTDIR' : 'EISDIR');
    }
    expect(got, where).toBe('');
    this.slots.delete(id);
    // What is replaced lends its name: the entry stays as it was spelt.
    this.slots.set(to, { name: over?.name ?? next, type: had.type });
  }

  check(img: Image, where: string): void {
    const names = (img.readdirSync('/fold') as string[]).sort();
    expect(names, where).toEqual([...this.slots.values()].map((s) => s.name).sort());
    for (const [id, { name }] of this.slots) {
      const { ino } = img.statSync(`/fold/${name}`);
      expect(img.statSync(`/fold/${this.#name(id)}`).ino, where).toBe(ino);
    }
  }
}

const TOOLS = need.tool('mke2fs', 'e2fsck', 'debugfs');

need.describe('a directory whose names fold', [TOOLS], () => {
  for (const name of Object.keys(IMAGES)) {
    test(
      `${name}: every spelling is the same name, e2fsck finds nothing (seed ${SEED})`,
      () => {
        const { device, img } = fresh(name, { forceMiss: name === 'inline_data' });
        const trace = new Trace(img, SEED);
        for (let i = 1; i <= STEPS; i++) {
          trace.step();
          if (i % (STEPS / 4) !== 0) continue;
          trace.check(img, `seed ${SEED}, step ${i}`);
          const fd = img.openSync('/fold', 'r');
          img.fsyncSync(fd);
          img.closeSync(fd);
        }
        img.unmountSync();
        judge(device, `seed ${SEED}`);
        const again = mountSync(device);
        trace.check(again, 'mounted again');
        again.unmountSync();
      },
      LONG,
    );
  }

  test(
    'grows an index of several levels by folded hashes, and shrinks',
    () => {
      const { device, img } = fresh('1 KiB, strict');
      const name = (i: number, up: boolean) => {
        const text = `${'Ärger'.repeat(8)}${i}`;
        return up ? text.toUpperCase() : text.normalize('NFD');
      };
      for (let i = 0; i < 1500; i++) img.mknodSync(`/fold/${name(i, false)}`, 0o100644);
      expect(code(() => img.mknodSync(`/fold/${name(7, true)}`, 0o100644))).toBe('EEXIST');
      for (let i = 0; i < 1500; i += 3) img.unlinkSync(`/fold/${name(i, true)}`);
      for (let i = 0; i < 1500; i += 7) {
        const path = `/fold/${name(i, true)}`;
        expect(
          code(() => img.statSync(path)),
          path,
        ).toBe(i % 3 === 0 ? 'ENOENT' : '');
      }
      img.unmountSync();
      judge(device);
    },
    LONG,
  );

  test('keeps its entry when another spelling is renamed over it, and when only the case would change', () => {
    const { device, img } = fresh();
    img.writeFileSync('/fold/Name', 'old');
    img.writeFileSync('/fold/other', 'new');
    img.renameSync('/fold/other', '/fold/nAmE');
    expect(img.readdirSync('/fold')).toEqual(['Name']);
    expect(img.readFileSync('/fold/NAME', 'utf8')).toBe('new');
    img.renameSync('/fold/name', '/fold/NAME');
    expect(img.readdirSync('/fold')).toEqual(['Name']);
    img.linkSync('/fold/NAME', '/fold/link');
    expect(code(() => img.linkSync('/fold/link', '/fold/LINK'))).toBe('EEXIST');
    img.unmountSync();
    judge(device);
  });

  test('gives its ways to its subdirectories, not to files or others', () => {
    const { device, img } = fresh();
    img.mkdirSync('/fold/Sub/Deep', { recursive: true });
    img.writeFileSync('/fold/sub/DEEP/File', '');
    expect(img.existsSync('/FOLD/sub')).toBe(false);
    expect(img.getFlagsSync('/fold/sub/deep').casefold).toBe(true);
    expect(img.getFlagsSync('/fold/sub/deep/file').casefold).toBe(false);
    expect(img.realpathSync('/fold/SUB/deep')).toMatch(/^\/fold\/sub\/deep$/i);
    img.unmountSync();
    judge(device);
  });

  test('folds from when it is empty, if the file system can', () => {
    const { device, img } = fresh();
    img.mkdirSync('/a');
    img.writeFileSync('/a/x', '');
    expect(img.existsSync('/a/X')).toBe(false);
    expect(code(() => img.setFlagsSync('/a', { casefold: true }))).toBe('ENOTEMPTY');
    expect(code(() => img.setFlagsSync('/a/x', { casefold: true }))).toBe('ENOTDIR');
    img.unlinkSync('/a/x');
    img.setFlagsSync('/a', { casefold: true });
    img.writeFileSync('/a/x', '');
    expect(img.existsSync('/a/X')).toBe(true);
    img.unlinkSync('/a/X');
    img.setFlagsSync('/a', { casefold: false });
    img.writeFileSync('/a/x', '');
    img.writeFileSync('/a/X', '');
    img.unmountSync();
    judge(device);
    const plain = makeImage({ args: '-t ext4 -b 4096', size: 32 });
    const other = mountSync(memoryDevice(plain, { sparse: true }));
    other.mkdirSync('/a');
    expect(code(() => other.setFlagsSync('/a', { casefold: true }))).toBe('EOPNOTSUPP');
    other.unmountSync();
  });

  test('takes names that are no UTF-8 for what they are, or refuses them when it is strict', () => {
    const raw = (...bytes: number[]) => Buffer.concat([Buffer.from('/fold/A'), Buffer.from(bytes)]);
    const { device, img } = fresh();
    img.writeFileSync(raw(0xff), '');
    expect(code(() => img.statSync(raw(0xff)))).toBe('');
    expect(code(() => img.statSync(Buffer.from('/fold/a\xff', 'latin1')))).toBe('ENOENT');
    img.unmountSync();
    judge(device);
    const strict = fresh('1 KiB, strict');
    expect(code(() => strict.img.writeFileSync(raw(0xff), ''))).toBe('EINVAL');
    expect(code(() => strict.img.statSync(raw(0xff)))).toBe('EINVAL');
    expect(code(() => strict.img.mkdirSync(raw(0xc3)))).toBe('EINVAL');
    strict.img.writeFileSync(Buffer.from('/A\xff', 'latin1'), '');
    strict.img.unmountSync();
    judge(strict.device);
  });
});
