// Making a file system: settings, geometry, layout, the files that every one has, records, writes. All decisions fall
// before the first byte is written; the flow only reads and writes. For the api floor.

import type { BlockDevice } from '../block/device.ts';
import { makeDirectories } from './dirs.ts';
import type { Making } from './drive.ts';
import { JOURNAL, JOURNAL_DEV, MMP, ORPHAN_FILE, RESIZE_INODE } from './features.ts';
import { geometryOf } from './geometry.ts';
import { type GroupTable, makeGroups } from './groups.ts';
import { uuidText } from './ids.ts';
import { Image } from './image.ts';
import { makeBadInode, putTables } from './inodes.ts';
import { journalSize, makeJournal } from './journal.ts';
import {
  checkJournalDevice,
  enterUser,
  type JournalDevice,
  readJournalDevice,
  writeJournalDevice,
} from './journaldev.ts';
import { layOut } from './layout.ts';
import type { MkfsOptions, MkfsResult } from './options.ts';
import { makeMmp, makeOrphanFile } from './orphans.ts';
import type { Settings } from './plan.ts';
import { makeResizeInode } from './resize.ts';
import { refuse, settle } from './settle.ts';
import { makeSuper, putSupers } from './super.ts';
import {
  type Target,
  type Written,
  wipeMarks,
  writePieces,
  writeSuper,
  zeroRange,
} from './write.ts';

/** Makes a file system on the device. EINVAL in one line for what cannot be; then nothing has been written. */
export function* mkfsFlow(device: BlockDevice, o: MkfsOptions): Making<MkfsResult> {
  const offset = o.offset ?? 0;
  const settings = settingsOf(device.size, device.blockSize, o);
  const discards = settings.discard && device.discard !== undefined;
  if (discards && device.discardZeroes) settings.zeroed = true;
  const written: Written = { bytes: 0, calls: 0 };
  if (settings.features.has(JOURNAL_DEV)) {
    const size = settings.blocks * settings.blockSize;
    const to = { device, offset, size, zeroed: settings.zeroed };
    if (discards) yield { op: 'discard', device, dpos: offset, len: size };
    yield* writeJournalDevice(to, settings, written);
    return journalReport(settings, written);
  }
  const journal = o.journalDevice ? yield* readJournalDevice(o.journalDevice, settings.uuid) : null;
  const made = build(settings, journal);
  const { g } = made.img;
  const to = { device, offset, size: g.blocks * g.blockSize, zeroed: g.zeroed };
  if (discards) yield { op: 'discard', device, dpos: offset, len: to.size };
  yield* writeImage(to, made, journal, written);
  return report(made, written);
}

/** What mkfs would make on a device of `size` bytes, without one. */
export function planMkfs(size: number, o: MkfsOptions): MkfsResult {
  const settings = settingsOf(size, 1, o);
  const written = { bytes: 0, calls: 0 };
  if (settings.features.has(JOURNAL_DEV)) return journalReport(settings, written);
  return report(build(settings, null), written);
}

interface Made {
  img: Image;
  table: GroupTable;
  /** The superblock that goes last. */
  primary: Uint8Array;
}

function settingsOf(deviceSize: number, deviceBlock: number, o: MkfsOptions): Settings {
  const offset = o.offset ?? 0;
  if (offset < 0 || offset >= deviceSize || offset % deviceBlock !== 0) {
    throw refuse(`offset ${offset} of a device of ${deviceSize} bytes`);
  }
  const settings = settle(o, deviceSize - offset);
  if (settings.features.has(JOURNAL_DEV)) checkJournalDevice(settings);
  return settings;
}

/** The whole image but for ranges of zeroes, in memory. */
function build(settings: Settings, journal: JournalDevice | null): Made {
  const g = geometryOf(settings);
  if (journal && journal.blockSize !== g.blockSize) {
    throw refuse(`the journal device has blocks of ${journal.blockSize} bytes, not ${g.blockSize}`);
  }
  const img = new Image(g, layOut(g));
  if (journal) img.journalUuid = journal.uuid;
  makeFiles(img);
  putTables(img);
  const table = makeGroups(img);
  return { img, table, primary: putSupers(img, makeSuper(img, table), table) };
}

function makeFiles(img: Image): void {
  const { features } = img.g;
  const journal = features.has(JOURNAL) ? journalSize(img.g) : null;
  makeBadInode(img);
  makeDirectories(img);
  if (features.has(RESIZE_INODE)) makeResizeInode(img);
  if (journal) makeJournal(img, journal);
  if (features.has(MMP)) makeMmp(img);
  if (features.has(ORPHAN_FILE)) makeOrphanFile(img);
}

function* writeImage(
  to: Target,
  { img, primary }: Made,
  journal: JournalDevice | null,
  written: Written,
): Making<void> {
  yield* wipeMarks(to, written);
  yield* zeroTables(to, img, written);
  for (const { dpos, len } of img.zeroes) yield* zeroRange(to, dpos, len, written);
  yield* writePieces(to, img.pieces, written);
  if (journal) yield* enterUser(journal, img.g.uuid);
  yield* writeSuper(to, primary, written);
}

/** Tables with inodes in use always, the others only when the kernel is not to do it. */
function* zeroTables(to: Target, img: Image, written: Written): Making<void> {
  const { g, layout } = img;
  const len = g.tableBlocks * g.blockSize;
  const lazy = g.lazyTables && img.lazyCapable;
  const inUse = Math.ceil(img.lastInode / g.inodesPerGroup);
  for (let group = 0; group < (lazy ? inUse : g.groups); group++) {
    yield* zeroRange(to, layout.inodeTable[group] * g.blockSize, len, written);
  }
}

function report({ img, table }: Made, written: Written): MkfsResult {
  const { g } = img;
  return {
    blockSize: g.blockSize,
    blocks: g.blocks,
    inodes: g.groups * g.inodesPerGroup,
    groups: g.groups,
    freeBlocks: table.freeBlocks,
    freeInodes: table.freeInodes,
    journalBlocks: img.journalBlocks,
    journalRuns: img.journalRuns,
    label: new TextDecoder().decode(g.label),
    uuid: uuidText(g.uuid),
    features: g.features.names(),
    notes: g.notes,
    written: written.bytes,
    writes: written.calls,
  };
}

/** A journal device holds no file system: all but its size is zero. */
function journalReport(s: Settings, written: Written): MkfsResult {
  return {
    blockSize: s.blockSize,
    blocks: s.blocks,
    inodes: 0,
    groups: 0,
    freeBlocks: 0,
    freeInodes: 0,
    journalBlocks: s.blocks,
    journalRuns: [],
    label: new TextDecoder().decode(s.label),
    uuid: uuidText(s.uuid),
    features: ['journal_dev'],
    notes: s.notes,
    written: written.bytes,
    writes: written.calls,
  };
}
