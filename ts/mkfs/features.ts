// The three feature words of a new file system: names in and out, and which go together. A feature that only the
// defaults asked for gives way when what it rests on is not there; one that the caller named is refused instead.

import * as F from '../../assembly/format/ext4.ts';
import { Ext4Error } from '../errno.ts';
import {
  COMPAT_NAMES,
  featureNames,
  hasBit,
  INCOMPAT_NAMES,
  RO_COMPAT_NAMES,
} from '../ext4/features.ts';

export type Word = 'compat' | 'incompat' | 'roCompat';

/** A feature as a word and a bit in it. */
export type Feature = readonly [Word, number];

export const JOURNAL: Feature = ['compat', F.COMPAT_HAS_JOURNAL];
export const RESIZE_INODE: Feature = ['compat', F.COMPAT_RESIZE_INODE];
export const SPARSE2: Feature = ['compat', F.COMPAT_SPARSE_SUPER2];
export const FAST_COMMIT: Feature = ['compat', F.COMPAT_FAST_COMMIT];
export const ORPHAN_FILE: Feature = ['compat', F.COMPAT_ORPHAN_FILE];
export const EXT_ATTR: Feature = ['compat', F.COMPAT_EXT_ATTR];
export const DIR_INDEX: Feature = ['compat', F.COMPAT_DIR_INDEX];
export const JOURNAL_DEV: Feature = ['incompat', F.INCOMPAT_JOURNAL_DEV];
export const META_BG: Feature = ['incompat', F.INCOMPAT_META_BG];
export const EXTENTS: Feature = ['incompat', F.INCOMPAT_EXTENTS];
export const WIDE: Feature = ['incompat', F.INCOMPAT_64BIT];
export const FLEX_BG: Feature = ['incompat', F.INCOMPAT_FLEX_BG];
export const FILETYPE: Feature = ['incompat', F.INCOMPAT_FILETYPE];
export const MMP: Feature = ['incompat', F.INCOMPAT_MMP];
export const CSUM_SEED: Feature = ['incompat', F.INCOMPAT_CSUM_SEED];
export const INLINE_DATA: Feature = ['incompat', F.INCOMPAT_INLINE_DATA];
export const ENCRYPT: Feature = ['incompat', F.INCOMPAT_ENCRYPT];
export const CASEFOLD: Feature = ['incompat', F.INCOMPAT_CASEFOLD];
export const SPARSE: Feature = ['roCompat', F.RO_COMPAT_SPARSE_SUPER];
export const GDT_CSUM: Feature = ['roCompat', F.RO_COMPAT_GDT_CSUM];
export const BIGALLOC: Feature = ['roCompat', F.RO_COMPAT_BIGALLOC];
export const METADATA_CSUM: Feature = ['roCompat', F.RO_COMPAT_METADATA_CSUM];
export const EXTRA_ISIZE: Feature = ['roCompat', F.RO_COMPAT_EXTRA_ISIZE];
export const PROJECT: Feature = ['roCompat', F.RO_COMPAT_PROJECT];
const VERITY: Feature = ['roCompat', F.RO_COMPAT_VERITY];
const DIR_NLINK: Feature = ['roCompat', F.RO_COMPAT_DIR_NLINK];
const HUGE_FILE: Feature = ['roCompat', F.RO_COMPAT_HUGE_FILE];
export const LARGE_FILE: Feature = ['roCompat', F.RO_COMPAT_LARGE_FILE];
const STABLE: Feature = ['compat', F.COMPAT_STABLE_INODES];
const EA_INODE: Feature = ['incompat', F.INCOMPAT_EA_INODE];
const LARGE_DIR: Feature = ['incompat', F.INCOMPAT_LARGEDIR];

/** What mkfs can make. Quota files are not among it yet. */
const MAKEABLE: Feature[] = [
  JOURNAL,
  RESIZE_INODE,
  SPARSE2,
  FAST_COMMIT,
  ORPHAN_FILE,
  EXT_ATTR,
  DIR_INDEX,
  STABLE,
  JOURNAL_DEV,
  META_BG,
  EXTENTS,
  WIDE,
  FLEX_BG,
  FILETYPE,
  MMP,
  CSUM_SEED,
  INLINE_DATA,
  ENCRYPT,
  CASEFOLD,
  EA_INODE,
  LARGE_DIR,
  SPARSE,
  GDT_CSUM,
  BIGALLOC,
  METADATA_CSUM,
  EXTRA_ISIZE,
  PROJECT,
  VERITY,
  DIR_NLINK,
  HUGE_FILE,
  LARGE_FILE,
];

const TABLES = { compat: COMPAT_NAMES, incompat: INCOMPAT_NAMES, roCompat: RO_COMPAT_NAMES };
const ALIASES: Record<string, string> = { extents: 'extent', uninit_groups: 'uninit_bg' };
const WORDS: Word[] = ['compat', 'incompat', 'roCompat'];

/** What needs what, with the line that says so. */
const NEEDS: readonly (readonly [Feature, Feature, string])[] = [
  [CSUM_SEED, METADATA_CSUM, 'metadata_csum_seed needs metadata_csum'],
  [WIDE, EXTENTS, '64bit needs extent'],
  [BIGALLOC, EXTENTS, 'bigalloc needs extent'],
  [RESIZE_INODE, SPARSE, 'resize_inode needs sparse_super'],
  [ORPHAN_FILE, JOURNAL, 'orphan_file needs has_journal'],
  [INLINE_DATA, EXT_ATTR, 'inline_data needs ext_attr'],
];

export class FeatureSet {
  compat = 0;
  incompat = 0;
  roCompat = 0;
  /** What the caller named, to have or not to have. */
  readonly #asked: Record<Word, number> = { compat: 0, incompat: 0, roCompat: 0 };

  /** `defaults` without a mark, `text` as the caller's wish. EINVAL for names that there are not. */
  constructor(defaults: string, text: string) {
    for (const token of split(defaults)) this.#edit(token, false);
    for (const token of split(text)) this.#edit(token, true);
    this.#agree();
  }

  has([word, bit]: Feature): boolean {
    return hasBit(this[word], bit);
  }

  /** Whether the caller named it and has it. */
  wanted([word, bit]: Feature): boolean {
    return hasBit(this.#asked[word], bit) && hasBit(this[word], bit);
  }

  set([word, bit]: Feature, on: boolean): void {
    this[word] = on ? (this[word] | bit) >>> 0 : (this[word] & ~bit) >>> 0;
  }

  /** Takes a feature away; EINVAL with `why` when the caller named it. */
  drop(feature: Feature, why: string): void {
    if (this.wanted(feature)) throw new Ext4Error('EINVAL', why);
    this.set(feature, false);
  }

  names(): string[] {
    return WORDS.flatMap((word) => featureNames(TABLES[word], this[word], word));
  }

  #edit(token: string, asked: boolean): void {
    if (token === 'none') {
      for (const word of WORDS) this[word] = 0;
      return;
    }
    const off = token.startsWith('^') || token.startsWith('-');
    const feature = named(off ? token.slice(1) : token.replace(/^\+/, ''));
    this.set(feature, !off);
    if (asked) this.#asked[feature[0]] |= feature[1];
  }

  #agree(): void {
    if (this.has(JOURNAL_DEV)) return;
    if (this.has(RESIZE_INODE) && this.has(META_BG)) {
      if (this.wanted(RESIZE_INODE))
        this.drop(META_BG, 'resize_inode and meta_bg exclude each other');
      this.drop(RESIZE_INODE, 'resize_inode and meta_bg exclude each other');
    }
    if (this.has(METADATA_CSUM)) this.set(GDT_CSUM, false);
    for (const [feature, base, why] of NEEDS) {
      if (this.has(feature) && !this.has(base)) this.drop(feature, why);
    }
  }
}

function split(text: string): string[] {
  return text.split(/[\s,]+/).filter((token) => token !== '');
}

function named(name: string): Feature {
  const known = ALIASES[name] ?? name;
  for (const word of WORDS) {
    const entry = TABLES[word].find(([, one]) => one === known);
    if (entry === undefined) continue;
    if (MAKEABLE.some(([w, bit]) => w === word && bit === entry[0])) return [word, entry[0]];
    throw new Ext4Error('EINVAL', `the feature '${name}' cannot be made`);
  }
  throw new Ext4Error('EINVAL', `there is no feature '${name}'`);
}
