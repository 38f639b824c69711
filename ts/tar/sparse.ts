// Sparse maps as archives bring them: GNU's old one in header blocks, and format PAX 1.0 in front of the data. A map is
// checked before it is used: in order, within the file, as long as what is stored (GNU tar manual, "Sparse Formats").

import { numberField } from './fields.ts';
import { TAR_BLOCK, type TarSegment } from './header.ts';
import { TarError, type TarSource } from './source.ts';

/** Segments that a sparse map may list. */
export const MAX_SEGMENTS = 1_000_000;
/** A line of a map: 2^53 has 16 digits. */
const MAX_DIGITS = 16;

/** The segments that hold bytes. TarError when they overlap, leave the file, or are not what is stored. */
export function checkedSegments(all: TarSegment[], size: number, stored: number): TarSegment[] {
  let [end, sum] = [0, 0];
  for (const { pos, len } of all) {
    const whole = Number.isSafeInteger(pos) && Number.isSafeInteger(len) && len >= 0;
    if (!whole || pos < end || pos + len > size) throw new TarError('a sparse map is out of order');
    end = pos + len;
    sum += len;
  }
  if (sum !== stored) throw new TarError('a sparse map does not fit the data');
  return all.filter(({ len }) => len > 0);
}

/** Format PAX 1.0: lines of digits in whole blocks before the data. Returns the segments and the map's bytes. */
export async function readMap(
  source: TarSource,
  stored: number,
): Promise<{ segments: TarSegment[]; len: number }> {
  const numbers: number[] = [];
  let [text, len, wanted] = ['', 0, 1];
  while (numbers.length < wanted) {
    if (len + TAR_BLOCK > stored + TAR_BLOCK - 1) throw new TarError('a sparse map has no end');
    const block = await source.exactly(TAR_BLOCK);
    if (block === null) throw new TarError('the archive ends too early');
    len += TAR_BLOCK;
    for (let off = 0; off < TAR_BLOCK && numbers.length < wanted; off++) {
      const byte = block[off];
      if (byte !== 0x0a) text += digit(byte, text.length);
      else {
        numbers.push(Number(text || 'x'));
        text = '';
        if (numbers.length === 1) wanted = 1 + 2 * countOf(numbers[0]);
      }
    }
  }
  const segments = numbers
    .slice(1)
    .flatMap((pos, i, rest) => (i % 2 === 0 ? [{ pos, len: rest[i + 1] }] : []));
  return { segments, len };
}

function digit(byte: number, before: number): string {
  if (byte < 0x30 || byte > 0x39 || before >= MAX_DIGITS)
    throw new TarError('a sparse map is malformed');
  return String.fromCharCode(byte);
}

function countOf(count: number): number {
  if (!(count <= MAX_SEGMENTS)) throw new TarError('too many holes');
  return count;
}

/** GNU's old format: four pairs in the header, 21 in each block that follows it. Returns the segments. */
export async function readOldMap(header: Uint8Array, source: TarSource): Promise<TarSegment[]> {
  const segments = pairs(header, 386, 4);
  let more = header[482] !== 0;
  while (more) {
    const block = await source.exactly(TAR_BLOCK);
    if (block === null) throw new TarError('the archive ends too early');
    segments.push(...pairs(block, 0, 21));
    if (segments.length > MAX_SEGMENTS) throw new TarError('too many holes');
    more = block[504] !== 0;
  }
  return segments;
}

function pairs(block: Uint8Array, from: number, most: number): TarSegment[] {
  const found: TarSegment[] = [];
  for (let i = 0; i < most && block[from + i * 24] !== 0; i++) {
    const off = from + i * 24;
    found.push({ pos: numberField(block, off, 12), len: numberField(block, off + 12, 12) });
  }
  return found;
}
