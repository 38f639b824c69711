// `ext4 tree`: a directory tree with lines, as tree(1) draws it.

import type { Ext4 } from '../index.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { humanSize, paint } from './format.ts';
import { jsonOf } from './json.ts';
import { shown } from './names.ts';
import { type Entry, entriesOf, type Facts, factsOf, linkOf, loop, walk } from './tree.ts';
import { eachFile, type Operand } from './volume.ts';

export const tree: Command = {
  usage: 'tree [-adhs] [-L DEPTH] ADDR…',
  about: 'Draws the tree below a directory.',
  options: [
    { name: 'all', short: 'a', help: 'also names that start with a dot' },
    { name: 'directories', short: 'd', help: 'directories only' },
    { name: 'size', short: 's', help: 'with sizes in bytes' },
    { name: 'human', short: 'h', help: 'with sizes as 1.5K, 234M' },
    { name: 'depth', short: 'L', value: 'DEPTH', help: 'at most so deep' },
    JSON_LINES,
  ],
  examples: ['ext4 tree -L 2 raspios.img:2:/etc'],
  async run(call) {
    await eachFile(call, call.expect(1), async (operand) => {
      if (call.has('json')) return printJson(call, operand);
      const { complain, img, path, text } = operand;
      const drawing = new Drawing(call, img, { depth: call.number('depth'), complain });
      await drawing.draw(path, text);
    });
    return undefined;
  },
};

async function printJson(call: Call, { complain, img, path }: Operand): Promise<void> {
  const options = { maxDepth: call.number('depth'), complain };
  for await (const visit of walk(img, call.io, path, options)) {
    if (visit.leave) continue;
    if (visit.type !== 'd' && call.has('directories')) continue;
    const target = visit.type === 'l' ? await linkOf(img, visit.path) : undefined;
    await call.io.out.line(JSON.stringify({ ...jsonOf({ ...visit, target }), depth: visit.depth }));
  }
}

export interface DrawLimits {
  depth?: number;
  /** How many names of a directory are drawn, by its depth; the last counts for all below. */
  names?: number[];
  complain(path: string, error: unknown): Promise<void>;
  /** Put before each line; without the sum at the end. */
  indent?: string;
}

/** Draws trees on the standard output of a call. */
export class Drawing {
  readonly #call: Call;
  readonly #img: Ext4;
  readonly #limits: DrawLimits;
  readonly #seen = new Set<number>();
  #directories = 0;
  #files = 0;

  constructor(call: Call, img: Ext4, limits: DrawLimits) {
    this.#call = call;
    this.#img = img;
    this.#limits = limits;
  }

  async draw(path: string, text: string): Promise<void> {
    const { io } = this.#call;
    const facts = await factsOf(this.#img, path, true);
    const indent = this.#limits.indent ?? '';
    await io.out.line(indent + paint(io.colour, '1;34', this.#shown(text)));
    this.#seen.add(facts.ino);
    await this.#inside(path, indent, 1);
    if (this.#limits.indent !== undefined) return;
    const only = this.#call.has('directories');
    const files = only ? '' : `, ${this.#files} ${this.#files === 1 ? 'file' : 'files'}`;
    const word = this.#directories === 1 ? 'directory' : 'directories';
    await io.out.line(`\n${this.#directories} ${word}${files}`);
  }

  async #inside(path: string, indent: string, depth: number): Promise<void> {
    const entries = await this.#entries(path);
    const { names } = this.#limits;
    const limit = names?.[depth - 1] ?? names?.at(-1) ?? entries.length;
    const drawn = entries.length > limit + 1 ? entries.slice(0, limit) : entries;
    const more = entries.length - drawn.length;
    for (const [i, entry] of drawn.entries()) {
      const last = i === drawn.length - 1 && more === 0;
      await this.#entry(entry, indent, last, depth);
    }
    if (more === 0) return;
    this.#count(entries.slice(drawn.length));
    const faint = paint(this.#call.io.colour, '2', `… and ${more} more`);
    await this.#call.io.out.line(`${indent}└── ${faint}`);
  }

  async #entries(path: string): Promise<Entry[]> {
    await this.#call.io.breathe();
    try {
      const all = await entriesOf(this.#img, path);
      return all.filter(
        ({ name, type }) =>
          (this.#call.has('all') || !name.startsWith('.')) &&
          (type === 'd' || !this.#call.has('directories')),
      );
    } catch (error) {
      await this.#limits.complain(path, error);
      return [];
    }
  }

  #count(entries: Entry[]): void {
    const directories = entries.filter(({ type }) => type === 'd').length;
    this.#directories += directories;
    this.#files += entries.length - directories;
  }

  async #entry(entry: Entry, indent: string, last: boolean, depth: number): Promise<void> {
    this.#count([entry]);
    const facts = await this.#facts(entry);
    const line = this.#size(facts) + (await this.#name(entry, facts));
    await this.#call.io.out.line(`${indent}${last ? '└── ' : '├── '}${line}`);
    const deeper = depth < (this.#limits.depth ?? Number.POSITIVE_INFINITY);
    if (entry.type !== 'd' || !facts || !deeper) return;
    if (this.#seen.has(facts.ino)) {
      await this.#limits.complain(entry.path, loop(facts.ino));
      return;
    }
    this.#seen.add(facts.ino);
    await this.#inside(entry.path, `${indent}${last ? '    ' : '│   '}`, depth + 1);
  }

  async #facts(entry: Entry): Promise<Facts | undefined> {
    try {
      return await factsOf(this.#img, entry.path);
    } catch (error) {
      await this.#limits.complain(entry.path, error);
      return undefined;
    }
  }

  #size(facts: Facts | undefined): string {
    if (!this.#call.has('size') && !this.#call.has('human')) return '';
    const size = facts?.size ?? 0;
    const text = this.#call.has('human') ? humanSize(size).padStart(5) : String(size).padStart(11);
    return `[${text}]  `;
  }

  async #name(entry: Entry, facts: Facts | undefined): Promise<string> {
    const { colour } = this.#call.io;
    const name = this.#shown(entry.name);
    if (entry.type === 'd') return paint(colour, '1;34', name);
    if (entry.type === '-' && (facts?.mode ?? 0) & 0o111) return paint(colour, '1;32', name);
    if (entry.type !== 'l') return name;
    const target = facts ? await linkOf(this.#img, entry.path).catch(() => '?') : '?';
    return `${paint(colour, '1;36', name)} -> ${this.#shown(target)}`;
  }

  #shown(name: string): string {
    return this.#call.io.out.isTTY ? shown(name) : name;
  }
}
