// Facts as text, in the forms that coreutils gave them: modes, sizes, dates, device numbers, columns, tables.

import { padEnd, width } from './names.ts';

const TYPE_LETTERS: Record<number, string> = {
  1: 'p',
  2: 'c',
  4: 'd',
  6: 'b',
  8: '-',
  10: 'l',
  12: 's',
};

const TYPE_WORDS: Record<string, string> = {
  p: 'fifo',
  c: 'character special file',
  d: 'directory',
  b: 'block special file',
  '-': 'regular file',
  l: 'symbolic link',
  s: 'socket',
  '?': 'weird file',
};

/** `-`, `d`, `l`, `c`, `b`, `p`, `s`, or `?`. */
export function typeLetter(mode: number): string {
  return TYPE_LETTERS[Math.floor(mode / 0o10000)] ?? '?';
}

export function typeWord(mode: number, size: number): string {
  const word = TYPE_WORDS[typeLetter(mode)];
  return word === 'regular file' && size === 0 ? 'regular empty file' : word;
}

/** `drwxr-sr-x`. */
export function modeText(mode: number): string {
  const bits = (shift: number, special: boolean, letter: string) => {
    const three = (mode >> shift) & 7;
    const x = three & 1 ? (special ? letter : 'x') : special ? letter.toUpperCase() : '-';
    return `${three & 4 ? 'r' : '-'}${three & 2 ? 'w' : '-'}${x}`;
  };
  const user = bits(6, (mode & 0o4000) !== 0, 's');
  const group = bits(3, (mode & 0o2000) !== 0, 's');
  return typeLetter(mode) + user + group + bits(0, (mode & 0o1000) !== 0, 't');
}

export function modeOctal(mode: number): string {
  return (mode % 0o10000).toString(8).padStart(4, '0');
}

const UNITS = 'KMGTPE';

/** GNU's -h: powers of 1024, rounded up, one decimal below ten. */
export function humanSize(bytes: number): string {
  let value = bytes;
  let unit = -1;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit < 0) return String(bytes);
  const tenths = Math.ceil(value * 10 - 1e-9);
  if (tenths < 100) return `${(tenths / 10).toFixed(1)}${UNITS[unit]}`;
  const whole = Math.ceil(value - 1e-9);
  if (whole === 1024 && unit < UNITS.length - 1) return `1.0${UNITS[unit + 1]}`;
  return `${whole}${UNITS[unit]}`;
}

/** For people: `1.4 MiB`. */
export function binarySize(bytes: number): string {
  let value = bytes;
  let unit = -1;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit < 0) return `${bytes} B`;
  const decimals = Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(decimals)} ${UNITS[unit]}iB`;
}

/** Thousands apart, as in `1,234,567`. */
export function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

export interface Instant {
  sec: number;
  nsec: number;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const HALF_YEAR = 31_556_952 / 2;
const two = (value: number): string => String(value).padStart(2, '0');

/** The date column of `ls -l`: the time within the last half year, else the year. */
export function listDate(time: Instant, now: number): string {
  const date = new Date(time.sec * 1000);
  if (Number.isNaN(date.getTime())) return String(time.sec).padStart(12);
  const day = `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)}`;
  const at = time.sec + time.nsec / 1e9;
  const recent = at <= now && at > now - HALF_YEAR;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return recent ? `${day} ${clock}` : `${day} ${String(date.getFullYear()).padStart(5)}`;
}

/** `2024-02-29 12:34:56.123456789 +0100`. */
export function fullDate({ sec, nsec }: Instant): string {
  const date = new Date(sec * 1000);
  if (Number.isNaN(date.getTime())) return `${sec}.${String(nsec).padStart(9, '0')}`;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${clock}.${String(nsec).padStart(9, '0')} ${zone(date)}`;
}

function zone(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}${two(size % 60)}`;
}

/** UTC with a fraction, for JSON. */
export function isoTime({ sec, nsec }: Instant): string {
  const date = new Date(sec * 1000);
  if (Number.isNaN(date.getTime())) return `@${sec}.${String(nsec).padStart(9, '0')}`;
  return date.toISOString().replace(/\.\d+Z$/, `.${String(nsec).padStart(9, '0')}Z`);
}

/** Linux's dev_t, which is wider than 32 bits: 12 + 20 bits of major, 8 + 24 of minor. */
export function deviceNumbers(rdev: number): { major: number; minor: number } {
  const low = rdev % 2 ** 32;
  const high = Math.floor(rdev / 2 ** 32);
  const major = (Math.floor(low / 256) % 4096) + Math.floor(high / 4096) * 4096;
  const minor = (low % 256) + Math.floor(low / 2 ** 20) * 256 + (high % 4096) * 2 ** 20;
  return { major, minor };
}

/** Rows with columns as wide as their widest cell; `right` names the columns set to the right. */
export function table(rows: string[][], right: number[] = [], gap = ' '): string[] {
  const wide = rows.reduce<number[]>((max, row) => {
    row.forEach((cell, i) => {
      max[i] = Math.max(max[i] ?? 0, width(cell));
    });
    return max;
  }, []);
  return rows.map((row) =>
    row
      .map((cell, i) => {
        if (right.includes(i)) return ' '.repeat(wide[i] - width(cell)) + cell;
        return i === row.length - 1 ? cell : padEnd(cell, wide[i]);
      })
      .join(gap),
  );
}

/** The length of the longest text, 0 of none. */
export function longest(texts: string[]): number {
  return texts.reduce((max, text) => Math.max(max, text.length), 0);
}

/** Names in columns read downwards, as wide as the terminal allows; `painted` is what is printed in their place. */
export function columns(names: string[], painted: string[], terminal: number): string[] {
  const widths = names.map(width);
  // Fewer rows than this have no room even without gaps at their ends; a large directory takes larger steps.
  const all = widths.reduce((sum, one) => sum + one + 2, 0);
  const least = Math.max(1, Math.floor(all / (terminal + 2)));
  for (let rows = least; rows < names.length; rows += Math.ceil((rows + 1) / 64)) {
    const wide = columnWidths(widths, rows);
    const total = wide.reduce((sum, one) => sum + one, 0) + 2 * (wide.length - 1);
    if (total >= terminal) continue;
    const cells = painted.map((name, i) => {
      const last = i + rows >= names.length;
      return last ? name : name + ' '.repeat(wide[Math.floor(i / rows)] + 2 - widths[i]);
    });
    const lines = new Array<string>(rows).fill('');
    for (const [i, cell] of cells.entries()) lines[i % rows] += cell;
    return lines;
  }
  return painted;
}

function columnWidths(widths: number[], rows: number): number[] {
  const wide: number[] = [];
  for (let i = 0; i < widths.length; i += rows) {
    wide.push(widths.slice(i, i + rows).reduce((max, one) => Math.max(max, one), 0));
  }
  return wide;
}

/** SGR codes: bold 1, faint 2, red 31, green 32, yellow 33, blue 34, cyan 36. */
export function paint(on: boolean, code: string, text: string): string {
  return on && text !== '' ? `\x1b[${code}m${text}\x1b[0m` : text;
}
