// Command lines: short options in clusters, long ones with `=` or the next word, `--` ends them, options and
// operands mix. A table of options gives the parser and the help text. Unknown or incomplete: UsageError.

import { explain, Interrupted, UsageError } from './errors.ts';
import type { Io } from './io.ts';
import { shown } from './names.ts';

export interface Option {
  name: string;
  short?: string;
  /** What the value is called in the help; without it the option is a switch. */
  value?: string;
  help: string;
}

export interface Command {
  /** The command line without `ext4`: `ls [-la] ADDR…`. */
  usage: string;
  about: string;
  options: Option[];
  examples?: string[];
  /** The rest of the command line from the first operand on is the command's own (find). */
  ownSyntax?: boolean;
  /** False for commands without an image's options. */
  image?: boolean;
  /** Returns the exit code; nothing is 0. */
  run(call: Call): Promise<number | undefined>;
}

export class Call {
  readonly name: string;
  readonly io: Io;
  readonly operands: string[];
  readonly #values: Map<string, string>;
  /** The exit code when the command itself does not fail: the worst of what was reported. */
  exit = 0;

  constructor(name: string, io: Io, parsed: Parsed) {
    this.name = name;
    this.io = io;
    this.operands = parsed.operands;
    this.#values = parsed.values;
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  value(name: string): string | undefined {
    return this.#values.get(name);
  }

  /** A whole number with an optional suffix K, M, G or T (1024), or UsageError. */
  number(name: string): number | undefined {
    const text = this.#values.get(name);
    return text === undefined ? undefined : parseSize(text, `--${name}`);
  }

  /** Operands, at least and at most so many. */
  expect(least: number, most = Number.POSITIVE_INFINITY): string[] {
    if (this.operands.length < least) throw new UsageError('an operand is missing');
    if (this.operands.length > most) {
      throw new UsageError(`unexpected operand '${this.operands[most]}'`);
    }
    return this.operands;
  }

  /** Says on one line that a part failed; the command goes on and ends with the worst code. */
  async complain(what: string, error: unknown): Promise<void> {
    if (isFatal(error)) throw error;
    const { why, exit } = explain(error);
    this.exit = Math.max(this.exit, exit);
    await this.note(`${shown(what)}: ${why}`);
  }

  /** A remark on standard error, in order with what was printed. */
  async note(text: string): Promise<void> {
    await this.io.out.flush();
    await this.io.err.line(`ext4: ${this.name} ${text}`);
    await this.io.err.flush();
  }
}

/** Errors that end the whole command instead of one operand. */
export function isFatal(error: unknown): boolean {
  const pipe = (error as NodeJS.ErrnoException)?.code === 'EPIPE';
  return pipe || error instanceof Interrupted || error instanceof UsageError;
}

export function parseSize(text: string, what: string): number {
  const match = /^(\d+)([KMGT]?)(?:i?B)?$/i.exec(text);
  const value = match
    ? Number(match[1]) * 1024 ** ' KMGT'.indexOf(match[2].toUpperCase() || ' ')
    : -1;
  if (!Number.isSafeInteger(value) || value < 0)
    throw new UsageError(`${what}: '${text}' is no size`);
  return value;
}

const COMMON: Option[] = [
  {
    name: 'options',
    short: 'o',
    value: 'LIST',
    help: 'mount options, as in mount(8): noload, journal=refuse, …',
  },
  {
    name: 'offset',
    value: 'BYTES',
    help: 'where the file system starts in the image (K, M, G allowed)',
  },
];
/** The value of an option that takes none, given more than once. */
export const AGAIN = 'again';

const HELP: Option = { name: 'help', help: 'show this text' };

export const JSON_FACTS: Option = { name: 'json', help: 'print JSON' };
export const JSON_LINES: Option = { name: 'json', help: 'print one JSON object a line' };

/** Every option that a command takes. */
export function optionsOf(command: Command): Option[] {
  const taken = new Set(command.options.map(({ short }) => short));
  const common = COMMON.map((one) => (taken.has(one.short) ? { ...one, short: undefined } : one));
  return [...command.options, ...(command.image === false ? [] : common), HELP];
}

export interface Parsed {
  operands: string[];
  values: Map<string, string>;
}

export function parseArgs(argv: string[], command: Command): Parsed {
  const parser = new Parser(argv, optionsOf(command));
  parser.parse(command.ownSyntax ?? false);
  return parser;
}

class Parser implements Parsed {
  readonly operands: string[] = [];
  readonly values = new Map<string, string>();
  readonly #rest: string[];
  readonly #options: Option[];

  constructor(argv: string[], options: Option[]) {
    this.#rest = [...argv];
    this.#options = options;
  }

  parse(stopAtOperand: boolean): void {
    for (let word = this.#rest.shift(); word !== undefined; word = this.#rest.shift()) {
      if (word === '--') break;
      if (word.startsWith('--')) this.#long(word.slice(2));
      else if (word.startsWith('-') && word !== '-') this.#cluster(word.slice(1));
      else this.operands.push(word);
      if (stopAtOperand && this.operands.length > 0) break;
    }
    this.operands.push(...this.#rest);
  }

  #long(word: string): void {
    const [name, ...rest] = word.split('=');
    const option = this.#options.find((one) => one.name === name);
    if (!option) throw new UsageError(`unknown option '--${name}'`);
    const given = rest.length > 0 ? rest.join('=') : undefined;
    if (option.value === undefined && given !== undefined) {
      throw new UsageError(`option '--${name}' takes no value`);
    }
    this.#set(option, given, `--${name}`);
  }

  #cluster(letters: string): void {
    for (let i = 0; i < letters.length; i++) {
      const option = this.#options.find((one) => one.short === letters[i]);
      if (!option) throw new UsageError(`unknown option '-${letters[i]}'`);
      this.#set(option, letters.slice(i + 1) || undefined, `-${letters[i]}`);
      if (option.value !== undefined) return;
    }
  }

  #set(option: Option, given: string | undefined, written: string): void {
    if (option.value === undefined) {
      this.values.set(option.name, this.values.has(option.name) ? AGAIN : '');
      return;
    }
    const value = given ?? this.#rest.shift();
    if (value === undefined) throw new UsageError(`option '${written}' needs a ${option.value}`);
    const before = option.name === 'options' ? this.values.get('options') : undefined;
    this.values.set(option.name, before === undefined ? value : `${before},${value}`);
  }
}

/** The text of `--help`. */
export function helpText(command: Command): string {
  const rows = optionsOf(command).map((option) => {
    const short = option.short ? `-${option.short}` : '';
    const long = option.name.length > 1 ? `--${option.name}` : '';
    const value = option.value ? ` ${option.value}` : '';
    return [[short, long].filter(Boolean).join(', ') + value, option.help];
  });
  const wide = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, right]) => `  ${left.padEnd(wide)}  ${right}`);
  const examples = command.examples?.length
    ? `\nExamples\n${command.examples.map((line) => `  ${line}\n`).join('')}`
    : '';
  const head = `Usage: ext4 ${command.usage}\n\n${command.about}\n\n`;
  return `${head}Options\n${lines.join('\n')}\n${examples}`;
}
