// Points in time as touch takes them: -d in ISO 8601 or @SECONDS, -t as POSIX has it. Nanoseconds are kept.

import { UsageError } from './errors.ts';
import type { Instant } from './format.ts';

const DAY = new RegExp(
  String.raw`^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?)?` +
    String.raw`\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?$`,
  'i',
);
const SECONDS = /^@(-?\d+)(?:[.,](\d{1,9})\d*)?$/;
const STAMP = /^(\d\d)?(\d\d)?(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d\d))?$/;

/** The time now, as fine as Node has it. */
export function present(): Instant {
  return fromMs(Date.now());
}

function fromMs(ms: number): Instant {
  const sec = Math.floor(ms / 1000);
  return { sec, nsec: (ms - sec * 1000) * 1e6 };
}

/** `2024-02-29 12:30:00.5 +02:00`, `2024-02-29T12:30Z`, `2024-02-29`, `@1700000000.25`, `now`. Local without a zone. */
export function parseDate(text: string): Instant {
  const trimmed = text.trim();
  if (/^now$/i.test(trimmed)) return present();
  const seconds = SECONDS.exec(trimmed);
  if (seconds) return fromSeconds(seconds[1], seconds[2]);
  const parts = DAY.exec(trimmed);
  if (!parts) throw new UsageError(`'${text}' is no date (2024-02-29 12:30:00, @SECONDS, now)`);
  const [year, month, day, hour = 0, minute = 0, second = 0] = parts
    .slice(1, 7)
    .map((part) => (part === undefined ? undefined : Number(part))) as number[];
  const ms = moment([year, month, day, hour, minute, second], parts[8]);
  if (ms === null) throw new UsageError(`'${text}' is no date`);
  return { sec: ms / 1000, nsec: nanoseconds(parts[7]) };
}

/** [[CC]YY]MMDDhhmm[.ss], local time. */
export function parseStamp(text: string): Instant {
  const parts = STAMP.exec(text);
  if (!parts) throw new UsageError(`'${text}' is no stamp ([[CC]YY]MMDDhhmm[.ss])`);
  const [century, year, month, day, hour, minute, second = '0'] = parts.slice(1);
  // One pair of digits too few for a century is a year.
  const short = year === undefined ? century : year;
  const numbers = [month, day, hour, minute, second].map(Number);
  const ms = moment([yearOf(year === undefined ? undefined : century, short), ...numbers]);
  if (ms === null) throw new UsageError(`'${text}' is no date`);
  return fromMs(ms);
}

/** Two digits are of 1969 to 2068; none are this year. */
function yearOf(century: string | undefined, year: string | undefined): number {
  if (year === undefined) return new Date().getFullYear();
  if (century !== undefined) return Number(century) * 100 + Number(year);
  return Number(year) + (Number(year) < 69 ? 2000 : 1900);
}

function fromSeconds(whole: string, fraction?: string): Instant {
  const nsec = nanoseconds(fraction);
  const sec = Number(whole);
  const negative = whole.startsWith('-') && nsec > 0;
  return negative ? { sec: sec - 1, nsec: 1e9 - nsec } : { sec, nsec };
}

const nanoseconds = (fraction = ''): number => Number(fraction.padEnd(9, '0'));

/** Milliseconds since 1970, null for what no calendar has; local when there is no zone. */
function moment(parts: number[], zone?: string): number | null {
  const [year, month, day, hour, minute, second] = parts;
  const utc = new Date(0);
  utc.setUTCFullYear(year, month - 1, day);
  utc.setUTCHours(hour, minute, second);
  const same = utc.getUTCMonth() === month - 1 && utc.getUTCDate() === day;
  if (!same || hour > 23 || minute > 59 || second > 60) return null;
  if (zone !== undefined) return utc.getTime() - offsetOf(zone);
  const local = new Date(0);
  local.setFullYear(year, month - 1, day);
  local.setHours(hour, minute, second, 0);
  return local.getTime();
}

function offsetOf(zone: string): number {
  const [, sign, hours, minutes = '0'] = /^([+-])(\d\d):?(\d\d)?$/.exec(zone) ?? [];
  const ms = sign === undefined ? 0 : (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === '-' ? -ms : ms;
}
