// Random traces of operations on the tree, after a seed: about two in three succeed. Names are
// few, so that they meet; some are 255 bytes long, some no UTF-8. Targets and values take every
// place that ext4 has for them.

import { type Random, random } from '../fuzz/random.ts';
import type { Model, Node, Op } from './model.ts';

const LONG = 'n'.repeat(254);
const NAMES = [
  ...Array.from({ length: 14 }, (_, i) => `f${i}`),
  ...['a', 'longer-name-of-a-file.txt', '\xff\xfe raw', '\xc3\xa4', `${LONG}1`, `${LONG}2`],
];
const DIRS = ['d0', 'd1', 'd2', 'd3', '\x80dir', `${'D'.repeat(250)}`];
const XATTRS = ['user.a', 'user.bb', 'trusted.t', 'security.s', `user.${'x'.repeat(100)}`];
/** The journal's magic: such blocks are escaped in the log. */
const MAGIC = '\xc0\x3b\x39\x98';
const SMALL = [0, 3, 40, 200, 500, 900];
const LARGE = [0, 3, 40, 900, 1500, 4000, 5000, 13_000, 65_536];
const MODES = [0o755, 0o2775, 0o700, 0o1777, 0o4755, 0o000];

export interface TraceOptions {
  /** Names made in one go, many to a directory. */
  bulk?: boolean;
  /** Values of xattrs up to 64 KiB, where the feature has inodes for them. */
  large?: boolean;
}

export class Tracer {
  readonly #r: Random;
  readonly #model: Model;
  readonly #bulk: boolean;
  readonly #large: boolean;
  #serial = 0;

  constructor(seed: number, model: Model, o: TraceOptions = {}) {
    this.#r = random(seed);
    this.#model = model;
    this.#bulk = o.bulk ?? true;
    this.#large = o.large ?? false;
  }

  /** The next operation; several at times, of one kind. */
  next(): Op[] {
    const r = this.#r;
    const k = r.int(100);
    if (k < 10) return [['mkdir', this.#dirPath(), r.pick(MODES)]];
    if (k < 16) return [['rmdir', r.chance(0.9) ? this.#dirPath() : this.#path()]];
    if (k < 28) return [['mknod', this.#path(), 0o100000 + r.pick(MODES)]];
    if (k < 36) return [['unlink', r.chance(0.95) ? this.#path() : this.#dirPath()]];
    if (k < 42) return [['link', this.#path(), this.#path()]];
    if (k < 48) return [['symlink', this.#path(), this.#target()]];
    if (k < 51) return [this.#special()];
    if (k < 66) return [this.#rename()];
    if (k < 70) return [['chmod', this.#any(false), r.int(0o10000)]];
    if (k < 73) return [['chown', this.#any(true), r.int(200_000), r.int(200_000)]];
    if (k < 76) return [['utimes', this.#any(true), r.int(2 ** 32) - 2 ** 31, r.int(1e9)]];
    if (k < 91) return [this.#xattr()];
    if (k < 93) return [['sync']];
    return this.#bulk ? this.#many() : [['mknod', this.#path(), 0o100644]];
  }

  #xattr(): Op {
    const r = this.#r;
    if (r.chance(0.25)) return ['rmxattr', this.#any(true), r.pick(XATTRS)];
    const same = this.#large ? r.pick([40, 1000, 10_000]) : 40;
    const value = r.chance(0.4) ? 'same'.repeat(same) : this.#value();
    const path = this.#any(true);
    // e2fsck 1.47 takes the target of a short symlink for block numbers when a value counts in its i_blocks.
    const short = this.#large && this.#nodeAt(path)?.type === 'l';
    const cut = short ? value.slice(0, 40) : value;
    return ['setxattr', path, r.pick(XATTRS), cut, r.pick([0, 0, 0, 1, 2])];
  }

  #value(): string {
    const r = this.#r;
    const len = r.pick(this.#large ? LARGE : SMALL);
    return Array.from({ length: len }, () => String.fromCharCode(r.int(256))).join('');
  }

  #rename(): Op {
    const r = this.#r;
    const flags = r.pick([0, 0, 0, 1, 2]);
    const dir = () => this.#dirPath();
    const file = () => this.#path();
    const k = r.int(10);
    if (k < 4) return ['rename', dir(), dir(), flags];
    if (k < 9) return ['rename', file(), file(), flags];
    return ['rename', file(), dir(), flags];
  }

  #special(): Op {
    const r = this.#r;
    const type = r.pick([0o010000, 0o020000, 0o060000, 0o140000]);
    return ['mknod', this.#path(), type + 0o644, r.pick([0x103, 0x0800_1f42, 0xfff_fffff])];
  }

  #target(): string {
    const r = this.#r;
    const len = r.pick([1, 5, 58, 59, 60, 61, 155, 200, 1000, 1023]);
    return (r.chance(0.3) ? MAGIC : '').padEnd(len, `t${r.int(10)}`).slice(0, len);
  }

  /** Twenty to sixty names in a directory, or all of such names gone. */
  #many(): Op[] {
    const r = this.#r;
    const dir = this.#someDir();
    const stem = r.pick(['s', 'long'.repeat(40)]);
    const node = this.#nodeAt(dir);
    const mine = [...(node?.children ?? [])].filter(
      ([n, c]) => n.startsWith('@') && !c.children.size,
    );
    if (mine.length > 0 && r.chance(0.4)) {
      return mine.map(([n, c]) => [c.type === 'd' ? 'rmdir' : 'unlink', `${dir}/${n}`]);
    }
    const isDir = r.chance(0.2);
    return Array.from({ length: 20 + r.int(40) }, (): Op => {
      const path = `${dir}/@${stem}${this.#serial++}`;
      return isDir ? ['mkdir', path, 0o755] : ['mknod', path, 0o100600];
    });
  }

  #nodeAt(dir: string): Node | undefined {
    let at: Node | undefined = this.#model.root;
    for (const part of dir.split('/').filter(Boolean)) at = at?.children.get(part);
    return at;
  }

  /** A directory that is there, or would be if all went well. */
  #someDir(): string {
    const r = this.#r;
    let path = '';
    for (let node: Node = this.#model.root; r.chance(0.6); ) {
      const dirs = [...node.children].filter(([, c]) => c.type === 'd');
      if (dirs.length === 0) return r.chance(0.1) ? `${path}/${r.pick(DIRS)}` : path;
      const [name, next] = r.pick(dirs);
      path += `/${name}`;
      node = next;
    }
    return path;
  }

  #dirPath(): string {
    return `${this.#someDir()}/${this.#r.pick(DIRS)}`;
  }

  #path(): string {
    return `${this.#someDir()}/${this.#r.pick(NAMES)}`;
  }

  /** Something that is there, most of the time; with links or without. */
  #any(links: boolean): string {
    const r = this.#r;
    const dir = this.#someDir();
    const all = [...(this.#nodeAt(dir)?.children ?? [])].filter(([, c]) => links || c.type !== 'l');
    if (all.length > 0 && r.chance(0.95)) return `${dir}/${r.pick(all)[0]}`;
    return dir === '' || !links ? `${dir}/nowhere` : dir;
  }
}
