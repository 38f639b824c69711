// The entries of one directory block, judged one by one: lengths, names, numbers, types, "." and "..", names twice.
// An entry that names nothing that can be is taken out; a block whose chain of lengths breaks is cut where it breaks.

import * as F from '../../assembly/format/ext4.ts';
import { foldedKey } from '../ext4/casefold.ts';
import type { Leaf } from './direntry.ts';
import type { Index } from './htree.ts';
import type { Volume } from './volume.ts';

/** A directory while its blocks are checked. */
export interface Dir {
  ino: number;
  /** Its index in the list of directories. */
  place: number;
  seed: number;
  encrypted: boolean;
  casefold: boolean;
  index: Index | null;
  blocks: number;
  dot: boolean;
  dotdot: boolean;
}

/** The shortest encrypted name. */
const ENCRYPTED_LEAST = 16;

export class EntryCheck {
  readonly #vol: Volume;
  readonly #dir: Dir;
  readonly #leaf: Leaf;
  readonly #lblk: number;
  readonly #pblk: number;
  readonly #names = new Map<number, number[]>();
  readonly #folded = new Set<string>();
  #changed = false;

  constructor(vol: Volume, dir: Dir, leaf: Leaf, lblk: number, pblk: number) {
    this.#vol = vol;
    this.#dir = dir;
    this.#leaf = leaf;
    this.#lblk = lblk;
    this.#pblk = pblk;
  }

  /** Checks all entries. True when any was changed. */
  run(): boolean {
    const leaf = this.#leaf;
    let last = -1;
    for (let off = 0, i = 0; off < leaf.len; i++) {
      if (!leaf.isSound(off)) {
        this.#broken(off, last);
        break;
      }
      if (this.#lblk === 0 && i < 2) this.#dots(off, i);
      else if (leaf.ino(off) !== 0) this.#entry(off);
      last = off;
      off += leaf.recLen(off);
    }
    return this.#changed;
  }

  #report(code: string, text: string): boolean {
    const { ino } = this.#dir;
    const where = this.#pblk > 0 ? { ino, block: this.#pblk } : { ino };
    const fix = this.#vol.report.report(code, where, `directory ${ino}: ${text}`);
    if (fix) this.#changed = true;
    return fix;
  }

  /** The chain of lengths breaks at `off`: the entry before takes the rest. */
  #broken(off: number, last: number): void {
    const leaf = this.#leaf;
    if (!this.#report('dir-corrupt', `block ${this.#lblk} is corrupt at byte ${off}`)) return;
    if (last >= 0) leaf.setRecLen(last, leaf.len - last);
    else leaf.put(0, 0, leaf.len, new Uint8Array(0), 0);
    if (this.#lblk === 0 && off < 24) this.#vol.rebuild.add(this.#dir.ino);
  }

  /** The first two entries of block 0. */
  #dots(off: number, i: number): void {
    const leaf = this.#leaf;
    const dir = this.#dir;
    const right = i === 0 ? leaf.isDot(off) : leaf.isDotDot(off);
    if (!right || leaf.ino(off) === 0) {
      if (leaf.ino(off) !== 0) this.#entry(off);
      return; // told once, when the directory ends
    }
    if (i === 0) dir.dot = true;
    else dir.dotdot = true;
    const ino = leaf.ino(off);
    if (i === 0 && ino !== dir.ino) {
      if (this.#report('dir-dot', `"." names inode ${ino}`)) leaf.setIno(off, dir.ino);
    } else if (i === 1) {
      this.#vol.dotdot.set(dir.place, ino);
      if (ino < 1 || ino > this.#vol.sb.inodes) {
        if (!this.#report('dir-entry-inode', `".." names inode ${ino}`)) return;
        leaf.setIno(off, F.EXT4_ROOT_INO);
        return;
      }
    }
    this.#vol.found.increment(leaf.ino(off));
    this.#type(off, F.EXT4_FT_DIR);
    if (leaf.recLen(off) !== 12 && i === 0) this.#dotLength(off);
  }

  /** A "." that takes more than its own twelve bytes hides "..". */
  #dotLength(off: number): void {
    const leaf = this.#leaf;
    const next = off + leaf.recLen(off);
    if (next < leaf.len && leaf.isSound(next) && leaf.isDotDot(next)) return;
    if (this.#report('dir-dot-length', `"." takes ${leaf.recLen(off)} bytes`))
      this.#vol.rebuild.add(this.#dir.ino);
  }

  #remove(off: number): void {
    this.#leaf.setIno(off, 0);
  }

  #entry(off: number): void {
    const leaf = this.#leaf;
    const vol = this.#vol;
    const dir = this.#dir;
    const ino = leaf.ino(off);
    const wrong = this.#wrongName(off) || this.#wrongTarget(ino);
    if (wrong !== '') {
      if (this.#report('dir-entry', `entry ${leaf.text(off)} ${wrong}`)) this.#remove(off);
      return;
    }
    this.#characters(off);
    if (this.#unused(off, ino)) return;
    if (this.#vol.bad.has(ino)) {
      const text = `entry ${leaf.text(off)} names inode ${ino}, which is bad`;
      if (this.#report('dir-entry-bad', text)) this.#remove(off);
      return;
    }
    const type = vol.inodeType(ino);
    this.#type(off, type);
    if (type === F.EXT4_FT_DIR && !this.#adopt(off, ino)) return;
    if (this.#twice(off)) return;
    vol.found.increment(ino);
    if (dir.index !== null) this.#hash(off);
  }

  #wrongName(off: number): string {
    const leaf = this.#leaf;
    if (leaf.nameLen(off) === 0) return 'has no name';
    if (leaf.isDot(off)) return 'is a second "."';
    if (leaf.isDotDot(off)) return 'is a second ".."';
    if (this.#dir.encrypted && leaf.nameLen(off) < ENCRYPTED_LEAST)
      return 'is too short for an encrypted name';
    return '';
  }

  #wrongTarget(ino: number): string {
    const { sb } = this.#vol;
    if (ino > sb.inodes || (ino < sb.firstIno && ino !== F.EXT4_ROOT_INO))
      return `names inode ${ino}`;
    if (ino === F.EXT4_ROOT_INO) return 'is a link to the root directory';
    if (ino === this.#dir.ino) return 'is a link to its own directory';
    if (this.#vol.valueInodes.has(ino)) return `names inode ${ino}, which holds a value`;
    return '';
  }

  /** Names hold neither a slash nor a NUL; encrypted ones hold anything. */
  #characters(off: number): void {
    if (this.#dir.encrypted) return;
    const leaf = this.#leaf;
    const name = leaf.name(off);
    let bad = false;
    for (let i = 0; i < name.length; i++) if (name[i] === 0 || name[i] === 0x2f) bad = true;
    if (!bad) return;
    if (!this.#report('dir-name', `entry ${leaf.text(off)} has characters that no name may have`))
      return;
    for (let i = 0; i < name.length; i++) if (name[i] === 0 || name[i] === 0x2f) name[i] = 0x2e;
    if (this.#dir.index !== null) this.#vol.rebuild.add(this.#dir.ino);
  }

  /** An entry for an inode that is not in use. */
  #unused(off: number, ino: number): boolean {
    const vol = this.#vol;
    if (vol.inBadBlock.has(ino)) {
      const text = `entry ${this.#leaf.text(off)} names inode ${ino} in a bad block`;
      if (this.#report('dir-entry-bad-block', text)) this.#remove(off);
      return true;
    }
    if (vol.inUse.has(ino)) return false;
    const leaf = this.#leaf;
    const group = vol.inodeGroup(ino);
    const inside = (ino - 1) % vol.sb.inodesPerGroup;
    if (vol.groupSums && inside >= vol.usedInodes(group)) {
      const text = `entry ${leaf.text(off)} names inode ${ino}, unused in group ${group}`;
      if (this.#report('unused-area', text)) openGroup(vol, group, inside);
      return true;
    }
    if (
      this.#report(
        'dir-entry-unused',
        `entry ${leaf.text(off)} names inode ${ino}, which is not in use`,
      )
    )
      this.#remove(off);
    return true;
  }

  #type(off: number, type: number): void {
    const leaf = this.#leaf;
    const stored = leaf.type(off);
    const want = this.#vol.incompat(F.INCOMPAT_FILETYPE) ? type : 0;
    if (stored === want) return;
    const text = `entry ${leaf.text(off)} has the type ${stored}, not ${want}`;
    if (this.#report(stored === 0 ? 'dir-type-unset' : 'dir-type', text)) leaf.setType(off, want);
  }

  /** A directory has one name. True when this is it. */
  #adopt(off: number, ino: number): boolean {
    const vol = this.#vol;
    const place = vol.dirs.search(ino);
    if (place < 0) return true;
    if (vol.parent.get(place) === 0) {
      vol.parent.set(place, this.#dir.ino);
      return true;
    }
    const text = `entry ${this.#leaf.text(off)} is a second link to directory ${ino}`;
    if (this.#report('dir-second-link', text)) this.#remove(off);
    return false;
  }

  /** A name that is in the block already. */
  #twice(off: number): boolean {
    const leaf = this.#leaf;
    const name = leaf.name(off);
    let twice = false;
    if (this.#dir.casefold && !this.#dir.encrypted) {
      const key = foldedKey(name.slice());
      twice = this.#folded.has(key);
      this.#folded.add(key);
    } else twice = this.#sameName(off, name);
    if (!twice) return false;
    if (this.#report('dir-name-twice', `entry ${leaf.text(off)} is there twice`))
      this.#vol.rebuild.add(this.#dir.ino);
    return false;
  }

  #sameName(off: number, name: Uint8Array): boolean {
    let key = name.length;
    for (let i = 0; i < name.length; i++) key = (Math.imul(key, 31) + name[i]) | 0;
    const others = this.#names.get(key);
    if (others === undefined) {
      this.#names.set(key, [off]);
      return false;
    }
    others.push(off);
    return others.some((other) => other !== off && equal(this.#leaf.name(other), name));
  }

  #hash(off: number): void {
    const leaf = this.#leaf;
    const index = this.#dir.index as Index;
    const len = leaf.nameLen(off);
    const at = leaf.ptr + off + F.DE_NAME;
    if (this.#lblk === 0) return;
    if (this.#dir.casefold && this.#dir.encrypted) {
      const stored = at + Math.ceil(len / 4) * 4;
      index.hash(this.#lblk, this.#vol.disk.dv.getUint32(stored, true) & ~1);
    } else if (this.#dir.casefold) this.#foldedHash(leaf.name(off));
    else index.name(this.#lblk, at, len);
  }

  /** The hash of a folded name, laid out in a spare place. */
  #foldedHash(name: Uint8Array): void {
    const { disk } = this.#vol;
    const key = foldedKey(name.slice());
    const bytes = key.startsWith('\0') ? name.slice() : new TextEncoder().encode(key);
    const scratch = 0xf000;
    disk.u8.set(bytes.subarray(0, 1024), scratch);
    this.#dir.index?.name(this.#lblk, scratch, Math.min(bytes.length, 1024));
  }
}

/** The marks of what is not initialised were wrong: the next round reads the table as far as this inode. */
function openGroup(vol: Volume, group: number, inside: number): void {
  vol.setGroupFlags(group, vol.groupFlags(group) & ~F.EXT4_BG_INODE_UNINIT);
  const unused = Math.min(vol.itableUnused(group), vol.sb.inodesPerGroup - inside - 1);
  vol.putGroupU16(group, F.BG_ITABLE_UNUSED_LO, F.BG_ITABLE_UNUSED_HI, unused);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
