// The GUID partition table (UEFI 2.10, section 5.3): a header with its own checksum, and an array of entries with
// another; both have a backup at the end of the disk. Positions are LBAs of `sectorSize` bytes; results are bytes.
// Each number is checked before it is used; the table counts only when both checksums hold.

import { badChecksum, corrupt, type Ext4Error } from '../errno.ts';
import type { Flow } from '../flow.ts';
import { readDevice } from '../flow.ts';
import { crc32 } from './crc32.ts';
import type { BlockDevice } from './device.ts';
import type { Partition } from './partition.ts';

const SIGNATURE = 0; // 8 bytes
const HEADER_SIZE = 12; // le32
const HEADER_CRC32 = 16; // le32
const MY_LBA = 24; // le64
const FIRST_USABLE_LBA = 40; // le64
const LAST_USABLE_LBA = 48; // le64
const PARTITION_ENTRY_LBA = 72; // le64
const NUMBER_OF_ENTRIES = 80; // le32
const SIZE_OF_ENTRY = 84; // le32
const ENTRIES_CRC32 = 88; // le32
const MIN_HEADER = 92;

const TYPE_GUID = 0;
const UNIQUE_GUID = 16;
const STARTING_LBA = 32; // le64
const ENDING_LBA = 40; // le64, inclusive
const ATTRIBUTES = 48; // le64; bit 2: legacy BIOS bootable
const NAME = 56; // UTF-16LE, 36 units
const MIN_ENTRY = 128;

const MAGIC = 'EFI PART';
const MAX_TABLE_BYTES = 1 << 20; // 8,192 entries; the usual table has 128
const NOTHING = '00000000-0000-0000-0000-000000000000';

interface Header {
  firstUsable: number;
  lastUsable: number;
  entriesLba: number;
  count: number;
  entrySize: number;
  entriesCrc: number;
}

/** The partitions of the primary table, or of the backup when that is damaged, or what is wrong with the primary. */
export function* gptFlow(device: BlockDevice, sectorSize: number): Flow<Partition[] | Ext4Error> {
  const primary = yield* tableFlow(device, sectorSize, 1);
  if (Array.isArray(primary)) return primary;
  const backup = yield* tableFlow(device, sectorSize, Math.floor(device.size / sectorSize) - 1);
  return Array.isArray(backup) ? backup : primary;
}

/** Whether the sector begins as a GPT header does. */
export function isGptHeader(sector: Uint8Array): boolean {
  return String.fromCharCode(...sector.subarray(SIGNATURE, 8)) === MAGIC;
}

/** One copy of the table: its partitions, or the error that makes it useless. */
function* tableFlow(
  device: BlockDevice,
  sectorSize: number,
  lba: number,
): Flow<Partition[] | Ext4Error> {
  const sectors = Math.floor(device.size / sectorSize);
  if (lba < 1 || lba >= sectors) return corrupt('gpt_header', 'the disk ends before it');
  const sector = yield* sectorsFlow(device, sectorSize, lba, sectorSize);
  const header = parseHeader(sector, lba, sectors, sectorSize);
  if (header instanceof Error) return header;
  const bytes = header.count * header.entrySize;
  const entries = yield* sectorsFlow(device, sectorSize, header.entriesLba, bytes);
  if (crc32(entries) !== header.entriesCrc) return badChecksum('gpt_entries', { block: lba });
  return parseEntries(entries, header, sectorSize);
}

/** `len` bytes from sector `lba` on, which the caller has found inside the disk; read in whole device blocks. */
function* sectorsFlow(
  device: BlockDevice,
  sectorSize: number,
  lba: number,
  len: number,
): Flow<Uint8Array> {
  const start = lba * sectorSize;
  const skew = start % device.blockSize;
  const whole = Math.ceil((skew + len) / device.blockSize) * device.blockSize;
  const into = new Uint8Array(whole);
  yield* readDevice(device, [{ into, dpos: start - skew }]);
  return into.subarray(skew, skew + len);
}

function parseHeader(
  sector: Uint8Array,
  lba: number,
  sectors: number,
  sectorSize: number,
): Header | Ext4Error {
  const bad = (field: string, reason: string) =>
    corrupt('gpt_header', reason, { field, block: lba });
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  if (!isGptHeader(sector)) return bad('signature', 'not EFI PART');
  const size = view.getUint32(HEADER_SIZE, true);
  if (size < MIN_HEADER || size > sectorSize) return bad('header_size', `${size}`);
  const summed = sector.slice(0, size);
  summed.fill(0, HEADER_CRC32, HEADER_CRC32 + 4);
  if (crc32(summed) !== view.getUint32(HEADER_CRC32, true)) {
    return badChecksum('gpt_header', { block: lba });
  }
  if (u64(view, MY_LBA) !== lba) return bad('my_lba', `${u64(view, MY_LBA)}`);
  const header = {
    firstUsable: u64(view, FIRST_USABLE_LBA),
    lastUsable: u64(view, LAST_USABLE_LBA),
    entriesLba: u64(view, PARTITION_ENTRY_LBA),
    count: view.getUint32(NUMBER_OF_ENTRIES, true),
    entrySize: view.getUint32(SIZE_OF_ENTRY, true),
    entriesCrc: view.getUint32(ENTRIES_CRC32, true),
  };
  const { entrySize, count, entriesLba, firstUsable, lastUsable } = header;
  if (entrySize < MIN_ENTRY || entrySize % 8 !== 0) return bad('size_of_entry', `${entrySize}`);
  const bytes = count * entrySize;
  if (bytes > MAX_TABLE_BYTES) return bad('number_of_entries', `${count}`);
  const end = entriesLba + Math.ceil(bytes / sectorSize);
  if (entriesLba < 2 || end > sectors) return bad('partition_entry_lba', `${entriesLba}`);
  if (firstUsable > lastUsable) return bad('first_usable_lba', `${firstUsable}`);
  return header;
}

function parseEntries(bytes: Uint8Array, header: Header, sectorSize: number): Partition[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Partition[] = [];
  for (let i = 0; i < header.count; i++) {
    const at = i * header.entrySize;
    const type = guid(view, at + TYPE_GUID);
    const first = u64(view, at + STARTING_LBA);
    const last = u64(view, at + ENDING_LBA);
    if (type === NOTHING || first > last) continue;
    if (first < header.firstUsable || last > header.lastUsable) continue; // as Linux: not there
    found.push({
      number: i + 1,
      start: first * sectorSize,
      size: (last - first + 1) * sectorSize,
      scheme: 'gpt',
      type,
      uuid: guid(view, at + UNIQUE_GUID),
      label: name(view, at + NAME),
      bootable: (view.getUint8(at + ATTRIBUTES) & 4) !== 0,
    });
  }
  return found;
}

function name(view: DataView, at: number): string {
  let text = '';
  for (let i = 0; i < 36; i++) {
    const unit = view.getUint16(at + 2 * i, true);
    if (unit === 0) break;
    text += String.fromCharCode(unit);
  }
  return text;
}

/** A GUID as text: the first three fields are little-endian. */
function guid(view: DataView, at: number): string {
  const hex = (bytes: number[]) =>
    bytes
      .map((i) =>
        view
          .getUint8(at + i)
          .toString(16)
          .padStart(2, '0'),
      )
      .join('');
  return [
    [3, 2, 1, 0],
    [5, 4],
    [7, 6],
    [8, 9],
    [10, 11, 12, 13, 14, 15],
  ]
    .map(hex)
    .join('-');
}

/** A le64 as a number; 2^53 and more lose digits, which every bound check refuses all the same. */
function u64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}
