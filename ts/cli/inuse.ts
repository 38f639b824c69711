// Whether Linux has an image mounted: a block device by its number, a file through the loop devices that it backs, with
// their partitions. Elsewhere nothing is known, and nothing said.

import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { deviceNumbers } from './format.ts';

/** Where the system has it mounted; '' when it has not, or when that cannot be found out. */
export function mountedOn(path: string): string {
  try {
    const stat = statSync(path);
    const numbers = stat.isBlockDevice() ? [numberOf(stat.rdev)] : loopNumbers(realpathSync(path));
    return numbers.length === 0 ? '' : mountPoint(new Set(numbers));
  } catch {
    return '';
  }
}

function numberOf(rdev: number): string {
  const { major, minor } = deviceNumbers(rdev);
  return `${major}:${minor}`;
}

/** "major:minor" of every loop device, and partition of one, that a file is behind. */
function loopNumbers(file: string): string[] {
  const block = '/sys/block';
  return readdirSync(block)
    .filter(
      (name) => name.startsWith('loop') && read(`${block}/${name}/loop/backing_file`) === file,
    )
    .flatMap((name) => {
      const parts = readdirSync(`${block}/${name}`).filter((part) => part.startsWith(`${name}p`));
      return [name, ...parts.map((part) => `${name}/${part}`)];
    })
    .map((name) => read(`${block}/${name}/dev`));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trimEnd();
  } catch {
    return '';
  }
}

/** The first mount point of one of the devices. Blanks in it are written as \040. */
function mountPoint(numbers: Set<string>): string {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , number, , point] = line.split(' ');
    if (numbers.has(number))
      return point.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)));
  }
  return '';
}
