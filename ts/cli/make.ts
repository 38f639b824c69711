// `ext4 mkdir` and `ext4 touch`.

import { coreOf } from '../api/fs.ts';
import type { Attributes } from '../ext4/setattr.ts';
import type { Flow } from '../flow.ts';
import type { Ext4 } from '../index.ts';
import type { FileSystem } from '../vfs/filesystem.ts';
import { parseAddress } from './address.ts';
import type { Call, Command } from './args.ts';
import { UsageError } from './errors.ts';
import type { Instant } from './format.ts';
import { parseMode } from './modetext.ts';
import { shown } from './names.ts';
import { bytesOf, factsOf } from './tree.ts';
import { changeEach, withVolumes } from './volume.ts';
import { parseDate, parseStamp, present } from './when.ts';

export const mkdir: Command = {
  usage: 'mkdir [-pv] [-m MODE] ADDR…',
  about: 'Makes directories. Their mode is 777 without what the umask takes, unless -m says it.',
  options: [
    { name: 'parents', short: 'p', help: 'those above too; one that is there is no error' },
    { name: 'mode', short: 'm', value: 'MODE', help: 'the mode, octal or as in chmod' },
    { name: 'verbose', short: 'v', help: 'name what is made' },
  ],
  examples: ['ext4 mkdir -p disk.img:/srv/www/html', 'ext4 mkdir -m 700 disk.img:/root/.ssh'],
  async run(call) {
    const text = call.value('mode');
    const mode = text === undefined ? undefined : parseMode(text)(0o777, true);
    await changeEach(call, call.expect(1), async ({ img, path, text }) => {
      if (!(await makeDirectory(img, path, call.has('parents')))) return;
      if (mode !== undefined) await img.promises.chmod(bytesOf(path), mode);
      if (call.has('verbose')) await call.io.out.line(`created directory '${shown(text)}'`);
    });
    return undefined;
  },
};

/** Whether something was made. */
async function makeDirectory(img: Ext4, path: string, parents: boolean): Promise<boolean> {
  if (parents) return (await img.promises.mkdir(bytesOf(path), { recursive: true })) !== undefined;
  await img.promises.mkdir(bytesOf(path));
  return true;
}

export const touch: Command = {
  usage: 'touch [-acmh] [-d DATE | -r ADDR | -t STAMP] ADDR…',
  about: `Sets the times of files, to now or as told, to the nanosecond; makes empty files where
there are none. Dates: '2024-02-29 12:30:00.5', '2024-02-29T12:30Z', '@1700000000', now.`,
  options: [
    { name: 'access', short: 'a', help: 'only the time of access' },
    { name: 'modify', short: 'm', help: 'only the time of modification' },
    { name: 'no-create', short: 'c', help: 'make no files' },
    { name: 'no-dereference', short: 'h', help: 'a symbolic link itself; makes no files' },
    { name: 'date', short: 'd', value: 'DATE', help: 'this time' },
    { name: 'reference', short: 'r', value: 'ADDR', help: 'the times of this file' },
    { name: 't', short: 't', value: 'STAMP', help: '[[CC]YY]MMDDhhmm[.ss]' },
  ],
  examples: ['ext4 touch disk.img:/forcefsck', "ext4 touch -d '2024-02-29 12:00Z' disk.img:/etc"],
  async run(call) {
    const operands = call.expect(1);
    const times = await timesOf(call);
    await changeEach(call, operands, ({ img, path }) => touchFile(call, img, path, times));
    return undefined;
  },
};

type Times = Pick<Attributes, 'atime' | 'mtime'>;

/** What is to be set. A file to copy from is looked at before anything is written. */
async function timesOf(call: Call): Promise<Times> {
  const given = ['date', 'reference', 't'].filter((name) => call.has(name));
  if (given.length > 1) throw new UsageError('-d, -r and -t exclude each other');
  const both = { ...(await sourceOf(call)) };
  if (call.has('access') && !call.has('modify')) return { atime: both.atime };
  if (call.has('modify') && !call.has('access')) return { mtime: both.mtime };
  return both;
}

async function sourceOf(call: Call): Promise<{ atime: Instant; mtime: Instant }> {
  const [date, stamp, reference] = ['date', 't', 'reference'].map((name) => call.value(name));
  if (reference !== undefined) return referenceOf(call, reference);
  const time =
    date !== undefined ? parseDate(date) : stamp !== undefined ? parseStamp(stamp) : present();
  return { atime: time, mtime: time };
}

function referenceOf(call: Call, operand: string): Promise<{ atime: Instant; mtime: Instant }> {
  return withVolumes(call, async (volumes) => {
    const address = parseAddress(operand);
    const { img } = await volumes.volume(address);
    return factsOf(img, address.path ?? '/', !call.has('no-dereference'));
  });
}

async function touchFile(call: Call, img: Ext4, path: string, times: Times): Promise<void> {
  const follow = !call.has('no-dereference');
  const core = coreOf(img);
  try {
    await core.run(setTimes(core, bytesOf(path), follow, times));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || !follow) throw error;
    if (call.has('no-create')) return;
    await img.promises.writeFile(bytesOf(path), '', { flag: 'a' });
    await core.run(setTimes(core, bytesOf(path), follow, times));
  }
}

/** fs.utimes takes seconds as one number, which has no room for all nanoseconds. */
function* setTimes(core: FileSystem, path: Uint8Array, follow: boolean, times: Times): Flow<void> {
  yield* core.change.setAttributes(yield* core.resolve(path, follow), times);
}
