// `ext4 ls`: GNU's columns and order. A name goes out as its bytes into a pipe and escaped onto a terminal.

import type { Ext4 } from '../index.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import {
  columns,
  deviceNumbers,
  humanSize,
  listDate,
  longest,
  modeText,
  paint,
  table,
} from './format.ts';
import { jsonOf } from './json.ts';
import { shown } from './names.ts';
import { Owners } from './owners.ts';
import { bytesOf, type Entry, entriesOf, type Facts, factsOf, linkOf, loop } from './tree.ts';
import { eachFile, type Operand } from './volume.ts';

export const ls: Command = {
  usage: 'ls [-laAR1hindtSr] ADDR…',
  about: 'Lists directories and files. Owners have the names that the image gives them.',
  options: [
    { name: 'long', short: 'l', help: 'mode, links, owner, group, size, time' },
    { name: 'all', short: 'a', help: 'also names that start with a dot' },
    { name: 'almost-all', short: 'A', help: 'as -a, without . and ..' },
    { name: 'recursive', short: 'R', help: 'and the directories inside' },
    { name: 'one', short: '1', help: 'one name a line' },
    { name: 'human', short: 'h', help: 'sizes as 1.5K, 234M' },
    { name: 'inode', short: 'i', help: 'inode numbers' },
    { name: 'numeric', short: 'n', help: 'as -l, with numbers for owner and group' },
    { name: 'directory', short: 'd', help: 'the directory itself, not what is in it' },
    { name: 'time', short: 't', help: 'newest first' },
    { name: 'size', short: 'S', help: 'largest first' },
    { name: 'reverse', short: 'r', help: 'the other way round' },
    JSON_LINES,
  ],
  examples: ['ext4 ls -l raspios.img:2:/etc', 'ext4 ls -lR --json disk.img:/home | jq .path'],
  async run(call) {
    const operands = call.expect(1);
    let first = true;
    await eachFile(call, operands, async (operand) => {
      const listing = new Listing(call, operand);
      await listing.list(operands.length > 1 || call.has('recursive'), first);
      first = false;
    });
    return undefined;
  },
};

interface Row extends Entry {
  facts?: Facts;
  target?: string;
  acl?: boolean;
}

class Listing {
  readonly #call: Call;
  readonly #img: Ext4;
  readonly #operand: Operand;
  readonly #owners: Owners;
  readonly #long: boolean;
  readonly #needFacts: boolean;
  readonly #now = Date.now() / 1000;
  readonly #seen = new Set<number>();
  #first = true;

  constructor(call: Call, operand: Operand) {
    this.#call = call;
    this.#img = operand.img;
    this.#operand = operand;
    this.#owners = new Owners(operand.img, call.has('numeric'));
    this.#long = call.has('long') || call.has('numeric');
    const facts = ['inode', 'time', 'size', 'json'].some((name) => call.has(name));
    this.#needFacts = this.#long || facts || call.io.colour;
  }

  /** The names in a directory, or the file itself. */
  async list(headed: boolean, first: boolean): Promise<void> {
    const { path, text } = this.#operand;
    this.#first = first;
    const directory = this.#call.has('directory');
    const facts = await factsOf(this.#img, path, !directory && !this.#long);
    const inside = (facts.mode & 0o170000) === 0o040000 && !directory;
    if (inside) return this.#directory(path, headed, facts.ino);
    const row = await this.#row({ name: text, path, type: '' });
    await this.#print([row], false);
  }

  async #directory(path: string, headed: boolean, ino: number): Promise<void> {
    await this.#call.io.breathe();
    this.#seen.add(ino);
    const rows = await this.#rows(path);
    if (headed && !this.#call.has('json')) {
      const name = this.#shown(this.#operand.addressOf(path));
      await this.#call.io.out.line(`${this.#first ? '' : '\n'}${name}:`);
    }
    this.#first = false;
    await this.#print(rows, this.#long);
    if (!this.#call.has('recursive')) return;
    for (const row of rows) {
      if (row.type === 'd' && row.name !== '.' && row.name !== '..') await this.#below(row);
    }
  }

  async #below(row: Row): Promise<void> {
    try {
      const { ino } = row.facts ?? (await factsOf(this.#img, row.path));
      if (this.#seen.has(ino)) throw loop(ino);
      await this.#directory(row.path, true, ino);
    } catch (error) {
      await this.#operand.complain(row.path, error);
    }
  }

  async #rows(path: string): Promise<Row[]> {
    const call = this.#call;
    const all = call.has('all') || call.has('almost-all');
    const entries = (await entriesOf(this.#img, path)).filter(
      ({ name }) => all || !name.startsWith('.'),
    );
    if (call.has('all')) {
      const dots = ['.', '..'].map((name) => ({ name, path: `${path}/${name}`, type: 'd' }));
      entries.unshift(...dots);
    }
    const rows: Row[] = [];
    for (const entry of entries) {
      await call.io.breathe();
      rows.push(await this.#row(entry));
    }
    return this.#sorted(rows);
  }

  /** What the columns need to know; a file that cannot be read keeps its name, as GNU's does. */
  async #row(entry: Entry): Promise<Row> {
    const row: Row = { ...entry };
    if (!this.#needFacts) return row;
    try {
      row.facts = await factsOf(this.#img, entry.path);
      row.type = modeText(row.facts.mode)[0];
      if (row.type === 'l' && (this.#long || this.#call.has('json'))) {
        row.target = await linkOf(this.#img, entry.path);
      }
      if (this.#long && row.type !== 'l') row.acl = await this.#hasAcl(entry.path);
    } catch (error) {
      await this.#operand.complain(entry.path, error);
    }
    return row;
  }

  async #hasAcl(path: string): Promise<boolean> {
    const names = await this.#img.promises.llistxattr(bytesOf(path));
    return names.some((name) => String(name).startsWith('system.posix_acl_'));
  }

  #sorted(rows: Row[]): Row[] {
    const call = this.#call;
    if (call.has('size')) rows.sort((a, b) => (b.facts?.size ?? 0) - (a.facts?.size ?? 0));
    else if (call.has('time')) rows.sort(newestFirst);
    return call.has('reverse') ? rows.reverse() : rows;
  }

  async #print(rows: Row[], total: boolean): Promise<void> {
    if (this.#call.has('json')) return this.#printJson(rows);
    if (this.#long) return this.#printLong(rows, total);
    const { out } = this.#call.io;
    const digits = this.#call.has('inode') ? longest(rows.map(inodeOf)) : 0;
    const inode = (row: Row) => (digits > 0 ? `${inodeOf(row).padStart(digits)} ` : '');
    const painted = rows.map((row) => inode(row) + this.#name(row));
    const plain = rows.map((row) => inode(row) + this.#shown(row.name));
    const wide = out.isTTY && !this.#call.has('one');
    const lines = wide ? columns(plain, painted, out.columns) : painted;
    for (const line of lines) await out.line(line);
  }

  #shown(name: string): string {
    return this.#call.io.out.isTTY ? shown(name) : name;
  }

  #name(row: Row): string {
    return paint(this.#call.io.colour, colourOf(row), this.#shown(row.name));
  }

  async #printLong(rows: Row[], total: boolean): Promise<void> {
    const { out } = this.#call.io;
    if (total) await out.line(`total ${this.#size(totalBlocks(rows) * 512, 1024)}`);
    const cells = await Promise.all(rows.map((row) => this.#cells(row)));
    const inode = this.#call.has('inode') ? 1 : 0;
    for (const column of [2, 3]) alignNumbers(cells, column + inode);
    // Sizes share their column with device numbers, each of which has a width of its own.
    const numbers = [1, 4, 5].map((column) => column + inode);
    if (inode) numbers.unshift(0);
    for (const line of table(this.#joinDevices(cells, 4 + inode), numbers)) await out.line(line);
  }

  /** `major, minor` of devices, both columns aligned as GNU does, in the place of the size. */
  #joinDevices(cells: string[][], at: number): string[][] {
    const minors = cells.filter((row) => row[at].includes(','));
    const wide = longest(minors.map((row) => row[at].split(', ')[1]));
    for (const row of minors) {
      const [major, minor] = row[at].split(', ');
      row[at] = `${major}, ${minor.padStart(wide)}`;
    }
    return cells;
  }

  async #cells(row: Row): Promise<string[]> {
    const inode = this.#call.has('inode') ? [inodeOf(row)] : [];
    const arrow = row.target === undefined ? '' : ` -> ${this.#shown(row.target)}`;
    const name = this.#name(row) + arrow;
    if (!row.facts) return [...inode, `${row.type || '?'}?????????`, '?', '?', '?', '?', '?', name];
    const { facts } = row;
    const plus = row.acl ? '+' : '';
    return [
      ...inode,
      modeText(facts.mode) + plus,
      String(facts.nlink),
      await this.#owners.user(facts.uid),
      await this.#owners.group(facts.gid),
      this.#sizeCell(facts),
      listDate(facts.mtime, this.#now),
      name,
    ];
  }

  #sizeCell(facts: Facts): string {
    if (!'bc'.includes(modeText(facts.mode)[0])) return this.#size(facts.size, 1);
    const { major, minor } = deviceNumbers(facts.rdev);
    return `${major}, ${minor}`;
  }

  #size(bytes: number, unit: number): string {
    return this.#call.has('human') ? humanSize(bytes) : String(Math.ceil(bytes / unit));
  }

  async #printJson(rows: Row[]): Promise<void> {
    for (const row of rows) await this.#call.io.out.line(JSON.stringify(jsonOf(row)));
  }
}

const inodeOf = (row: Row): string => String(row.facts?.ino ?? '?');

/** Owners without a name are numbers, which GNU sets to the right. */
function alignNumbers(cells: string[][], column: number): void {
  const wide = longest(cells.map((row) => row[column]));
  for (const row of cells) {
    if (/^\d+$/.test(row[column])) row[column] = row[column].padStart(wide);
  }
}

function newestFirst(a: Row, b: Row): number {
  const [x, y] = [a.facts?.mtime, b.facts?.mtime];
  return (y?.sec ?? 0) - (x?.sec ?? 0) || (y?.nsec ?? 0) - (x?.nsec ?? 0);
}

function totalBlocks(rows: Row[]): number {
  return rows.reduce((sum, { facts }) => sum + (facts?.blocks ?? 0), 0);
}

function colourOf(row: Row): string {
  if (row.type === 'd') return '1;34';
  if (row.type === 'l') return '1;36';
  if (row.type === '-' && (row.facts?.mode ?? 0) & 0o111) return '1;32';
  return 'bcps'.includes(row.type) && row.type !== '' ? '33' : '';
}
