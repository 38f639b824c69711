// The expressions of `ext4 find`, as a recursive descent parser that gives one function. Sizes round up to their
// unit and ages down to whole days or minutes, as in find(1).

import { UsageError } from './errors.ts';
import type { Instant } from './format.ts';
import type { Visit } from './tree.ts';

export type Deed = 'print' | 'print0' | 'prune' | 'quit';

/** True when the file matches; what is to be done with it is added to `deeds`. */
export type Test = (visit: Visit, deeds: Deed[]) => boolean;

export interface Plan {
  test: Test;
  maxDepth: number | undefined;
  minDepth: number;
}

/** Throws UsageError for what find(1) has and this has not. */
export function parseExpression(words: string[], now = Date.now() / 1000): Plan {
  return new Parser(words, now).plan();
}

class Parser {
  readonly #words: string[];
  readonly #now: number;
  #at = 0;
  #acts = false;
  #maxDepth: number | undefined;
  #minDepth = 0;

  constructor(words: string[], now: number) {
    this.#words = words;
    this.#now = now;
  }

  plan(): Plan {
    const all: Test = () => true;
    const test = this.#words.length === 0 ? all : this.#or();
    if (this.#at < this.#words.length) throw this.#wrong(`unexpected '${this.#words[this.#at]}'`);
    const withPrint: Test = (visit, deeds) => {
      const matches = test(visit, deeds);
      if (matches) deeds.push('print');
      return matches;
    };
    return {
      test: this.#acts ? test : withPrint,
      maxDepth: this.#maxDepth,
      minDepth: this.#minDepth,
    };
  }

  #or(): Test {
    let left = this.#and();
    while (this.#take('-o', '-or')) {
      const [a, b] = [left, this.#and()];
      left = (visit, deeds) => a(visit, deeds) || b(visit, deeds);
    }
    return left;
  }

  #and(): Test {
    let left = this.#not();
    for (;;) {
      this.#take('-a', '-and');
      const next = this.#words[this.#at];
      if (next === undefined || next === ')' || next === '-o' || next === '-or') return left;
      const [a, b] = [left, this.#not()];
      left = (visit, deeds) => a(visit, deeds) && b(visit, deeds);
    }
  }

  #not(): Test {
    if (!this.#take('!', '-not')) return this.#primary();
    const inner = this.#not();
    return (visit, deeds) => !inner(visit, deeds);
  }

  #primary(): Test {
    const word = this.#words[this.#at++];
    if (word === undefined) throw this.#wrong('the expression is incomplete');
    if (word === '(') {
      const inner = this.#or();
      if (!this.#take(')')) throw this.#wrong("')' is missing");
      return inner;
    }
    return this.#deed(word) ?? this.#depth(word) ?? this.#fact(word);
  }

  #deed(word: string): Test | undefined {
    const deed = ['-print', '-print0', '-prune', '-quit'].find((one) => one === word);
    if (deed === undefined) return undefined;
    if (deed !== '-prune') this.#acts = true;
    return (_, deeds) => {
      deeds.push(deed.slice(1) as Deed);
      return true;
    };
  }

  #depth(word: string): Test | undefined {
    if (word !== '-maxdepth' && word !== '-mindepth') return undefined;
    const value = this.#natural(word);
    if (word === '-maxdepth') this.#maxDepth = value;
    else this.#minDepth = value;
    return () => true;
  }

  #fact(word: string): Test {
    switch (word) {
      case '-name':
      case '-iname':
      case '-path':
        return this.#glob(word);
      case '-type':
        return this.#type(word);
      case '-perm':
        return this.#perm(word);
      case '-size':
        return this.#size(word);
      case '-empty':
        return ({ type, facts }) => type === '-' && facts.size === 0;
      case '-newermt':
        return this.#newer(word);
      case '-uid':
      case '-gid':
      case '-inum':
      case '-links':
        return this.#number(word);
      default:
        return this.#age(word);
    }
  }

  #glob(word: string): Test {
    const pattern = globPattern(this.#value(word), word === '-iname');
    const path = word === '-path';
    return (visit) => pattern.test(path ? visit.path : visit.name);
  }

  #type(word: string): Test {
    const letters = this.#value(word).split(',');
    const odd = letters.find((letter) => !/^[fdlcbps]$/.test(letter));
    if (odd !== undefined) throw this.#wrong(`-type: '${odd}' is none of f, d, l, c, b, p, s`);
    return ({ type }) => letters.includes(type === '-' ? 'f' : type);
  }

  #perm(word: string): Test {
    const text = this.#value(word);
    const match = /^([-/]?)([0-7]{1,4})$/.exec(text);
    if (!match) throw this.#wrong(`-perm: '${text}' is no octal mode`);
    const bits = Number.parseInt(match[2], 8);
    return ({ facts }) => {
      const mode = facts.mode & 0o7777;
      if (match[1] === '-') return (mode & bits) === bits;
      return match[1] === '/' ? bits === 0 || (mode & bits) !== 0 : mode === bits;
    };
  }

  #size(word: string): Test {
    const text = this.#value(word);
    const match = /^([+-]?)(\d+)([cwbkMG]?)$/.exec(text);
    if (!match) throw this.#wrong(`-size: '${text}' is no size`);
    const unit = { c: 1, w: 2, b: 512, '': 512, k: 1024, M: 1 << 20, G: 1 << 30 }[match[3]] ?? 1;
    const compare = comparison(match[1], Number(match[2]));
    return ({ facts }) => compare(Math.ceil(facts.size / unit));
  }

  #newer(word: string): Test {
    const text = this.#value(word);
    const time = text.startsWith('@') ? Number(text.slice(1)) * 1000 : Date.parse(text);
    if (Number.isNaN(time)) throw this.#wrong(`-newermt: '${text}' is no date`);
    return ({ facts }) => facts.mtime.sec + facts.mtime.nsec / 1e9 > time / 1000;
  }

  #number(word: string): Test {
    const compare = this.#comparison(word);
    const field = { '-uid': 'uid', '-gid': 'gid', '-inum': 'ino', '-links': 'nlink' }[word];
    return ({ facts }) => compare(facts[field as 'uid' | 'gid' | 'ino' | 'nlink']);
  }

  #age(word: string): Test {
    const match = /^-([amc])(time|min)$/.exec(word);
    if (!match) throw this.#wrong(`find does not know '${word}'`);
    const compare = this.#comparison(word);
    const field = { a: 'atime', m: 'mtime', c: 'ctime' }[match[1]] as 'atime' | 'mtime' | 'ctime';
    const unit = match[2] === 'time' ? 86_400 : 60;
    const age = ({ sec, nsec }: Instant) => (this.#now - sec - nsec / 1e9) / unit;
    // find(1) rounds days down and minutes up.
    const whole = match[2] === 'time' ? Math.floor : Math.ceil;
    return ({ facts }) => compare(whole(age(facts[field])));
  }

  #comparison(word: string): (value: number) => boolean {
    const text = this.#value(word);
    const match = /^([+-]?)(\d+)$/.exec(text);
    if (!match) throw this.#wrong(`${word}: '${text}' is no number`);
    return comparison(match[1], Number(match[2]));
  }

  #natural(word: string): number {
    const text = this.#value(word);
    if (!/^\d+$/.test(text)) throw this.#wrong(`${word}: '${text}' is no number`);
    return Number(text);
  }

  #value(word: string): string {
    const value = this.#words[this.#at++];
    if (value === undefined) throw this.#wrong(`${word} needs a value`);
    return value;
  }

  #take(...words: string[]): boolean {
    if (!words.includes(this.#words[this.#at])) return false;
    this.#at++;
    return true;
  }

  #wrong(text: string): UsageError {
    return new UsageError(text);
  }
}

function comparison(sign: string, limit: number): (value: number) => boolean {
  if (sign === '+') return (value) => value > limit;
  if (sign === '-') return (value) => value < limit;
  return (value) => value === limit;
}

/** A shell pattern as a regular expression over the whole text: `*`, `?`, `[a-z]`, `[!a]`, `\` before a character. */
export function globPattern(glob: string, ignoreCase: boolean): RegExp {
  const source = glob.replace(/\\(.)|\[!?\]?[^\]]*\]|[\s\S]/gu, (part, escaped) => {
    if (escaped !== undefined) return quote(escaped);
    if (part === '*') return '[\\s\\S]*';
    if (part === '?') return '[\\s\\S]';
    if (part.length > 1 && part.startsWith('[')) return bracket(part);
    return quote(part);
  });
  return new RegExp(`^${source}$`, ignoreCase ? 'iu' : 'u');
}

function bracket(part: string): string {
  const not = part.startsWith('[!') || part.startsWith('[^');
  const inside = part.slice(not ? 2 : 1, -1);
  return `[${not ? '^' : ''}${inside.replace(/[\]\\^[]/g, '\\$&')}]`;
}

const quote = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
