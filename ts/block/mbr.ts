// The MBR partition table: four primary entries, and logical partitions as a chain of tables inside the extended one.
// Sectors are u32 counts of `sectorSize` bytes; results are bytes. Nothing is trusted: see `parseMbr`.
//
//   byte 440      446 + 16 n                                            510
//   disk id (u32) flag(1) chs(3) type(1) chs(3) first(u32) count(u32)   55 aa

import type { Flow } from '../flow.ts';
import { readDevice } from '../flow.ts';
import type { BlockDevice } from './device.ts';
import type { Partition } from './partition.ts';

const DISK_ID = 440;
const ENTRIES = 446;
const SIGNATURE = 510;
const FIRST_LOGICAL = 5;
/** Linux stops after 100 tables without a partition; no tool makes more than this many. */
const MAX_LOGICAL = 128;
const EXTENDED = new Set([0x05, 0x0f, 0x85]);
export const PROTECTIVE = 0xee;

export interface MbrEntry {
  /** 1 to 4. */
  number: number;
  bootable: boolean;
  type: number;
  /** Sectors. */
  first: number;
  count: number;
}

export interface Mbr {
  diskId: string;
  entries: MbrEntry[];
}

/**
 * The used entries of a table sector, or null when it is none: no signature, or an entry whose flag is neither 0 nor
 * 0x80. The latter tells a table from the boot code of a file system that fills the whole disk.
 */
export function parseMbr(sector: Uint8Array): Mbr | null {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  if (view.getUint16(SIGNATURE, true) !== 0xaa55) return null;
  const entries: MbrEntry[] = [];
  for (let i = 0; i < 4; i++) {
    const at = ENTRIES + 16 * i;
    const flag = view.getUint8(at);
    if (flag !== 0 && flag !== 0x80) return null;
    const type = view.getUint8(at + 4);
    const first = view.getUint32(at + 8, true);
    const count = view.getUint32(at + 12, true);
    if (type === 0 || count === 0) continue;
    entries.push({ number: i + 1, bootable: flag === 0x80, type, first, count });
  }
  const diskId = view.getUint32(DISK_ID, true).toString(16).padStart(8, '0');
  return { diskId, entries };
}

/** The primary partitions and the logical ones behind them, in order of their numbers. */
export function* mbrFlow(device: BlockDevice, mbr: Mbr, sectorSize: number): Flow<Partition[]> {
  const found = mbr.entries.map((entry) => toPartition(mbr, entry, entry.number, 0, sectorSize));
  const extended = mbr.entries.find((entry) => EXTENDED.has(entry.type));
  if (extended) found.push(...(yield* logicalFlow(device, mbr, extended, sectorSize)));
  return found;
}

/**
 * Follows the chain of logical partitions. Each table has the partition (relative to the table) and the link (relative
 * to the extended partition). The chain ends where it is broken, leads back or leaves the extended partition: what
 * was found before stays usable, as under Linux.
 */
function* logicalFlow(
  device: BlockDevice,
  mbr: Mbr,
  extended: MbrEntry,
  sectorSize: number,
): Flow<Partition[]> {
  const found: Partition[] = [];
  const sector = new Uint8Array(Math.max(sectorSize, device.blockSize));
  const seen = new Set<number>();
  for (let at = extended.first; !seen.has(at) && seen.size < MAX_LOGICAL; ) {
    seen.add(at);
    const dpos = at * sectorSize;
    if (dpos % device.blockSize !== 0 || dpos + sector.length > device.size) break;
    yield* readDevice(device, [{ into: sector, dpos }]);
    const table = parseMbr(sector);
    if (table === null) break;
    const own = table.entries.find((entry) => !EXTENDED.has(entry.type));
    if (own) found.push(toPartition(mbr, own, FIRST_LOGICAL + found.length, at, sectorSize));
    const link = table.entries.find((entry) => EXTENDED.has(entry.type));
    if (link === undefined || link.first >= extended.count || link.first === 0) break;
    at = extended.first + link.first;
  }
  return found;
}

function toPartition(
  mbr: Mbr,
  entry: MbrEntry,
  number: number,
  base: number,
  sectorSize: number,
): Partition {
  return {
    number,
    start: (base + entry.first) * sectorSize,
    size: entry.count * sectorSize,
    scheme: 'mbr',
    type: entry.type.toString(16),
    uuid: `${mbr.diskId}-${number.toString(16).padStart(2, '0')}`,
    label: '',
    bootable: entry.bootable,
  };
}
