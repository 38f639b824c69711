// Pass 4: the count of links of each inode against the entries found; inodes without a name go to lost+found; value
// inodes count the attributes that name them.

import * as F from '../../assembly/format/ext4.ts';
import type { Flow } from '../flow.ts';
import { attach } from './lostfound.ts';
import { QUOTAS } from './pass0.ts';
import type { Volume } from './volume.ts';

/** A directory with more links than this says 1 instead. */
const LINKS_MAX = 65000;

/** Checks the link counts of all inodes in use. */
export function* checkLinks(vol: Volume): Flow<void> {
  const hidden = hiddenInodes(vol);
  checkQuotaNames(vol);
  for (const ino of vol.inUse.values()) {
    if (ino < vol.sb.firstIno && ino !== F.EXT4_ROOT_INO) continue;
    if (vol.inBadBlock.has(ino) || hidden.has(ino) || vol.bad.has(ino)) continue;
    if (vol.valueInodes.has(ino) && (yield* checkValueInode(vol, ino))) continue;
    const stored = vol.links.get(ino);
    let found = vol.found.get(ino);
    if (stored === 1 && found === 1) continue;
    if (found === 0) found = yield* unattached(vol, ino);
    const isDir = vol.inodeType(ino) === F.EXT4_FT_DIR;
    const most = isDir && found > LINKS_MAX;
    const want = most ? 1 : found;
    if (stored === want || found === 0) continue;
    // A directory that once had too many links keeps saying 1.
    if (isDir && stored === 1 && vol.roCompat(F.RO_COMPAT_DIR_NLINK) && found > LINKS_MAX) continue;
    const text = `inode ${ino} counts ${stored} links, ${found} were found`;
    if (vol.report.report('link-count', { ino }, text)) yield* setLinks(vol, ino, want);
  }
}

/** A file that the superblock takes for a quota file. */
function checkQuotaNames(vol: Volume): void {
  if (vol.roCompat(F.RO_COMPAT_QUOTA)) return;
  for (const { field, name } of QUOTAS) {
    const ino = vol.sb.u32(field);
    if (ino < vol.sb.firstIno || !vol.inUse.has(ino)) continue;
    const text = `superblock: inode ${ino}, a file, is named for the ${name} quota`;
    if (vol.report.report('super-quota-inode', { ino }, text)) vol.putSuper32(field, 0);
  }
}

function* setLinks(vol: Volume, ino: number, links: number): Flow<void> {
  const record = yield* vol.inode(ino);
  record?.put16(F.I_LINKS_COUNT, links);
  if (record) yield* vol.save(record);
}

/** Inodes that the superblock names and no directory does. */
function hiddenInodes(vol: Volume): Set<number> {
  const { sb } = vol;
  const hidden = new Set<number>();
  if (vol.compat(F.COMPAT_HAS_JOURNAL)) hidden.add(sb.journalIno);
  if (vol.compat(F.COMPAT_ORPHAN_FILE)) hidden.add(sb.orphanFileIno);
  if (vol.roCompat(F.RO_COMPAT_QUOTA)) for (const { field } of QUOTAS) hidden.add(sb.u32(field));
  return hidden;
}

/** An inode without a name. How many links it has afterwards. */
function* unattached(vol: Volume, ino: number): Flow<number> {
  const text = `inode ${ino} has no name`;
  if (!vol.report.report('inode-unattached', { ino }, text)) return 0;
  const home = yield* attach(vol, ino, vol.inodeType(ino));
  return home === 0 ? 0 : 1;
}

/** The holder of a value counts its references in its times. False when nothing refers to it. */
function* checkValueInode(vol: Volume, ino: number): Flow<boolean> {
  const refs = vol.valueRefs.get(ino);
  if (refs === 0) return false;
  if (vol.lustreValues.has(ino)) return true;
  const record = yield* vol.inode(ino);
  if (record === null) return true;
  const stored = record.u32(F.I_CTIME) * 2 ** 32 + record.u32(F.I_VERSION);
  if (stored === refs) return true;
  const text = `value inode ${ino} counts ${stored} references, ${refs} were found`;
  if (!vol.report.report('value-refs', { ino }, text)) return true;
  record.put32(F.I_CTIME, 0);
  record.put32(F.I_VERSION, refs);
  yield* vol.save(record);
  return true;
}
