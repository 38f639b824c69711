// Cases that the fuzzer once found, by name: a seed image of the oracles and what was changed in it.

import type { Recipe } from './child.ts';

export const REGRESSIONS: Record<string, Recipe> = {
  'an entry whose name holds NUL bytes': {
    image: 'syz_60.img',
    patches: [[131078, '02']],
  },
  'a long entry whose name runs over the next ones': {
    image: 'cap_f_cloneblock_alloc_error.2.img',
    patches: [[12362, '21']],
    how: { journal: 'replay', promises: true },
  },
  'an extent outside the file system, asked for twice': {
    image: 'f_extents2.img',
    patches: [
      [2074, 'ffff'],
      [6867, '20'],
      [9223, '0a'],
    ],
    how: { journal: 'noload', promises: false },
  },
  'an xattr whose name holds a NUL byte': {
    image: 'syz_11.img',
    patches: [[77028, '0200']],
  },
};
