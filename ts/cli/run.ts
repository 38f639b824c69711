// Runs one command line: finds the command, parses, calls it, turns whatever happens into at most one line on
// standard error and an exit code. Command groups are loaded when they are asked for, the library only when an
// image is opened: help and wrong usage load neither.

import { Call, type Command, helpText, parseArgs } from './args.ts';
import { explain, FAILED, INTERRUPTED, USAGE, UsageError } from './errors.ts';
import type { Io } from './io.ts';

interface Entry {
  name: string;
  summary: string;
  load(): Promise<Command>;
}

const COMMANDS: Entry[] = [
  {
    name: 'info',
    summary: 'what the image is: partitions, features, counts, journal',
    load: async () => (await import('./info.ts')).info,
  },
  {
    name: 'ls',
    summary: 'list directories',
    load: async () => (await import('./list.ts')).ls,
  },
  {
    name: 'tree',
    summary: 'draw a directory tree',
    load: async () => (await import('./draw.ts')).tree,
  },
  {
    name: 'stat',
    summary: 'everything about one file',
    load: async () => (await import('./stat.ts')).stat,
  },
  {
    name: 'cat',
    summary: 'write files to standard output',
    load: async () => (await import('./cat.ts')).cat,
  },
  {
    name: 'find',
    summary: 'search a tree',
    load: async () => (await import('./find.ts')).find,
  },
  {
    name: 'du',
    summary: 'space that trees take',
    load: async () => (await import('./usage.ts')).du,
  },
  {
    name: 'df',
    summary: 'space in the file system',
    load: async () => (await import('./usage.ts')).df,
  },
  {
    name: 'extents',
    summary: 'where the blocks of a file lie',
    load: async () => (await import('./extents.ts')).extents,
  },
  {
    name: 'xattr',
    summary: 'extended attributes and ACLs',
    load: async () => (await import('./xattr.ts')).xattr,
  },
  {
    name: 'cp',
    summary: 'copy files out of images and into them',
    load: async () => (await import('./copy.ts')).cp,
  },
  {
    name: 'mkdir',
    summary: 'make directories',
    load: async () => (await import('./make.ts')).mkdir,
  },
  {
    name: 'rm',
    summary: 'remove files and directories',
    load: async () => (await import('./remove.ts')).rm,
  },
  {
    name: 'mv',
    summary: 'move and rename',
    load: async () => (await import('./move.ts')).mv,
  },
  {
    name: 'ln',
    summary: 'make hard and symbolic links',
    load: async () => (await import('./move.ts')).ln,
  },
  {
    name: 'chmod',
    summary: 'change modes',
    load: async () => (await import('./mode.ts')).chmod,
  },
  {
    name: 'chown',
    summary: 'change owners',
    load: async () => (await import('./mode.ts')).chown,
  },
  {
    name: 'touch',
    summary: 'set times, make empty files',
    load: async () => (await import('./make.ts')).touch,
  },
  {
    name: 'truncate',
    summary: 'set the size of files',
    load: async () => (await import('./resize.ts')).truncate,
  },
  {
    name: 'fallocate',
    summary: 'reserve, free and move the space of files',
    load: async () => (await import('./resize.ts')).fallocate,
  },
  {
    name: 'tar',
    summary: 'a tree as a tar archive, out and in',
    load: async () => (await import('./archive.ts')).tar,
  },
  {
    name: 'fsck',
    summary: 'check a file system, and mend it',
    load: async () => (await import('./fsck.ts')).fsck,
  },
  {
    name: 'mkfs',
    summary: 'make a file system',
    load: async () => (await import('./mkfs.ts')).mkfs,
  },
  {
    name: 'journal',
    summary: 'what the journal holds',
    load: async () => (await import('./journal.ts')).journal,
  },
  {
    name: 'dump',
    summary: 'raw records with the kernel’s field names',
    load: async () => (await import('./dump.ts')).dump,
  },
  {
    name: 'start',
    summary: 'a tour: mount, list, extract, verify, measure',
    load: async () => (await import('./start.ts')).start,
  },
];

/** Named in the documentation of the command line, but not part of this version. */
const LATER = new Set('mount serve'.split(' '));

/** Runs `ext4 ARGV…` and returns its exit code. Never throws; what was written has been handed to the targets. */
export async function run(argv: string[], io: Io): Promise<number> {
  let exit: number;
  try {
    exit = await dispatch(argv, io);
    await io.out.flush();
  } catch (error) {
    exit = await report(argv, io, error);
  }
  await io.err.flush().catch(() => undefined);
  return exit;
}

/** What e2fsck says with its exit code when it does not come to a verdict: 16 usage, 32 interrupted, 8 all else. */
function fsckExit(usual: number): number {
  return { [USAGE]: 16, [INTERRUPTED]: 32 }[usual] ?? 8;
}

/** EPIPE is how a reader says that it has enough: no message, and the status that a shell gives it. */
const BROKEN_PIPE = 141;

async function report(argv: string[], io: Io, error: unknown): Promise<number> {
  if ((error as NodeJS.ErrnoException)?.code === 'EPIPE') return BROKEN_PIPE;
  await io.out.flush().catch(() => undefined);
  const { why, exit: usual } = explain(error);
  const exit = argv[0] === 'fsck' ? fsckExit(usual) : usual;
  const name = COMMANDS.find((entry) => entry.name === argv[0])?.name;
  const hint = error instanceof UsageError ? ` (see: ext4 ${name ? `${name} ` : ''}--help)` : '';
  const what = name ? `${name}: ` : '';
  await io.err.line(`ext4: ${what}${why}${hint}`).catch(() => undefined);
  if (io.env.EXT4_DEBUG && error instanceof Error) {
    await io.err.line(error.stack ?? '').catch(() => undefined);
  }
  return exit || FAILED;
}

async function dispatch(argv: string[], io: Io): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    return help(rest, io, name === undefined);
  }
  if (name === '--version' || name === '-V') return version(io);
  const command = await find(name);
  if (wantsHelp(rest, command)) {
    await io.out.text(helpText(command));
    return 0;
  }
  const call = new Call(name, io, parseArgs(rest, command));
  const exit = await command.run(call);
  return exit ?? call.exit;
}

function wantsHelp(rest: string[], command: Command): boolean {
  const end = rest.indexOf('--');
  const words = end < 0 ? rest : rest.slice(0, end);
  return words.includes('--help') && (!command.ownSyntax || words[0] === '--help');
}

async function find(name: string): Promise<Command> {
  const entry = COMMANDS.find((one) => one.name === name);
  if (entry) return entry.load();
  if (LATER.has(name)) {
    throw new UsageError(`'${name}' is not in this version`);
  }
  throw new UsageError(
    name.startsWith('-') ? `unknown option '${name}'` : `there is no command '${name}'`,
  );
}

async function help([name]: string[], io: Io, mistake: boolean): Promise<number> {
  if (name !== undefined && !name.startsWith('-')) {
    await io.out.text(helpText(await find(name)));
    return 0;
  }
  const wide = Math.max(...COMMANDS.map((entry) => entry.name.length));
  const list = COMMANDS.map((entry) => `  ${entry.name.padEnd(wide)}  ${entry.summary}\n`).join('');
  const text = `Usage: ext4 COMMAND [OPTION…] ADDRESS…

Makes, reads and changes ext2, ext3 and ext4 images: files, disks, http(s) URLs. No root, no mount.
mkfs makes one. What writes to an image that is there does so through its journal: mkdir, rm, mv,
ln, chmod, chown, touch, truncate, fallocate, cp into it, tar -x, xattr --set and --remove, fsck -y.
For all others what is still only in the journal is replayed in memory, as Linux would.

Commands
${list}
An ADDRESS is IMAGE[:PARTITION]:/path, the partition a number or a label:
  ext4 ls -l raspios.img:2:/etc
  ext4 cp -rp https://example.org/disk.img:rootfs:/home ./home
  ext4 tar -c disk.img:/ | tar -tv

'ext4 COMMAND --help' tells more.
Exit codes: 0 done, 1 failed, 2 usage, 3 unsupported or corrupt image.
`;
  await (mistake ? io.err : io.out).text(text);
  return mistake ? 2 : 0;
}

async function version(io: Io): Promise<number> {
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(new URL('../../../package.json', import.meta.url), 'utf8').catch(() =>
    readFile(new URL('../../package.json', import.meta.url), 'utf8'),
  );
  await io.out.line(`ext4-wasm ${JSON.parse(text).version}`);
  return 0;
}
