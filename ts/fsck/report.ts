// What a check found: the list of problems, whether each was mended, and the exit code that follows. Whoever finds a
// problem asks report(): true means "mend it now". The list has a limit, the count has none.

import { MINOR, PREEN } from './codes.ts';

/** Where in the image a problem lies. */
export interface Where {
  ino?: number;
  block?: number;
  group?: number;
}

export interface Problem extends Where {
  /** What is wrong, in one word that stays the same between versions. */
  code: string;
  /** 0 superblock and groups, 1 inodes and blocks, 2 directories, 3 connectivity, 4 links, 5 bitmaps. */
  pass: number;
  message: string;
  fixed: boolean;
  /** Named, and no reason to call the image unclean. */
  minor?: true;
}

/** `check` mends nothing; `preen` what loses nothing; `all` everything that can be mended. */
export type RepairMode = 'check' | 'preen' | 'all';

/** Problems kept; more are counted only. */
export const MAX_PROBLEMS = 10_000;

export class Report {
  readonly mode: RepairMode;
  readonly problems: Problem[] = [];
  /** All problems of this round, also those that are not in the list. */
  found = 0;
  /** Problems of this round that were mended. */
  mended = 0;
  /** Problems of this round that were left. */
  left = 0;
  pass = 0;
  /** Set by preen when it meets what only a full repair may touch. */
  stopped = false;
  /** False in the rounds after the first: what they find again is not told again. */
  listing = true;
  readonly #listener: ((problem: Problem) => void) | undefined;

  constructor(mode: RepairMode, listener?: (problem: Problem) => void) {
    this.mode = mode;
    this.#listener = listener;
  }

  /** Notes a problem. True when the caller is to mend it. */
  report(code: string, where: Where, message: string): boolean {
    const fixed = this.mode === 'all' || (this.mode === 'preen' && PREEN.has(code));
    if (this.mode === 'preen' && !fixed && !MINOR.has(code)) this.stopped = true;
    const problem = { code, pass: this.pass, ...where, message, fixed };
    this.#add(MINOR.has(code) ? { ...problem, minor: true } : problem);
    return fixed;
  }

  /** Notes a problem that nothing here mends. */
  complain(code: string, where: Where, message: string): void {
    if (this.mode === 'preen') this.stopped = true;
    this.#add({ code, pass: this.pass, ...where, message, fixed: false });
  }

  /** Begins another round over an image that the last one changed. */
  nextRound(): void {
    this.found = 0;
    this.mended = 0;
    this.left = 0;
  }

  #add(problem: Problem): void {
    if (!problem.minor || problem.fixed) this.found++;
    if (problem.fixed) this.mended++;
    else if (!problem.minor) this.left++;
    if (this.problems.length < MAX_PROBLEMS) this.problems.push(problem);
    this.#listener?.(problem);
  }
}
