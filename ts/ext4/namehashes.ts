// What a directory's names hash to, when all are known but too many to remember: a name whose hash is not among
// them is not there, and its leaf need not be searched. Four to eight bytes a name.

import * as F from '../../assembly/format/ext4.ts';
import { dirBlock } from './dirblock.ts';
import { hashOf } from './htree.ts';
import type { Inode } from './inode.ts';

const FIRST_BITS = 18;
/** Eight MiB. */
const LAST_BITS = 21;

/** A set of hashes: open addressing, 0 = free (hashes are even; kept with their low bit set). */
export class NameHashes {
  #bits = FIRST_BITS;
  #slots = new Uint32Array(2 ** FIRST_BITS);
  #count = 0;

  has(hash: number): boolean {
    return this.#slots[this.#find((hash | 1) >>> 0)] !== 0;
  }

  /** False when there are too many: the set is of no use any more. */
  add(hash: number): boolean {
    const value = (hash | 1) >>> 0;
    const at = this.#find(value);
    if (this.#slots[at] !== 0) return true;
    if (this.#count >= 0.75 * this.#slots.length) return this.#grow() && this.add(hash);
    this.#slots[at] = value;
    this.#count++;
    return true;
  }

  /** The slot that has the value, or the free one where it would go. */
  #find(value: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = Math.imul(value, 0x9e3779b1) >>> (32 - this.#bits);
    while (slots[at] !== 0 && slots[at] !== value) at = (at + 1) & mask;
    return at;
  }

  #grow(): boolean {
    if (this.#bits === LAST_BITS) return false;
    const old = this.#slots;
    this.#bits++;
    this.#slots = new Uint32Array(2 ** this.#bits);
    for (const value of old) if (value !== 0) this.#slots[this.#find(value)] = value;
    return true;
  }
}

/** The hashes of names of a directory with an index whose root this turn holds. */
export function hashesOf(dir: Inode, names: Iterable<Uint8Array>): NameHashes | null {
  const root = dirBlock(dir, 0);
  if (root === null) return null;
  const version = dir.vol.dv.getUint8(root.ptr + F.DX_ROOT_HASH_VERSION);
  const hashes = new NameHashes();
  for (const name of names) {
    const hash = hashOf(dir, version, name);
    if (hash < 0 || !hashes.add(hash)) return null;
  }
  return hashes;
}
