// How a scenario is written: a body that is run on a fresh /f of each kind of image, and then checked: sync, cut, our
// replay, e2fsck, the kernel. All kinds run; those that fail are told together.

import { test } from 'vitest';
import { need } from '../need.ts';
import { Crash } from './cuts.ts';
import { KERNEL_NEEDS, KernelLook } from './kernel.ts';
import type { KindName } from './kinds.ts';
import { Subject, type SubjectOptions } from './subject.ts';

const LONG = process.env.DEEP ? 3_600_000 : 300_000;
export const NEEDS = [...KERNEL_NEEDS, need.tool('mke2fs', 'e2fsck')];

/** Runs the body for each kind; throws one error that has what went wrong with any. */
function each(kinds: KindName[], body: (kind: KindName) => void): void {
  const failed: string[] = [];
  for (const kind of kinds) {
    try {
      body(kind);
    } catch (error) {
      failed.push(`${kind}: ${shortened(error)}`);
    }
  }
  if (failed.length > 0) throw new Error(failed.join('\n\n'));
}

/** The message, and where in the tests. */
function shortened(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const lines = (error.stack ?? '').split('\n');
  const places = lines.filter((line) => /^ +at .*\/(test|ts)\//.test(line)).slice(0, 6);
  return [error.message.slice(0, 1500), ...places].join('\n');
}

/** A test named after its scenario. */
export function scenario(
  title: string,
  kinds: KindName[],
  body: (s: Subject) => void,
  o: SubjectOptions = {},
): void {
  test(
    title,
    () => {
      const kernel = new KernelLook();
      each(kinds, (kind) => {
        const s = new Subject(kind, o);
        body(s);
        s.finish(kernel);
      });
      kernel.done();
    },
    LONG,
  );
}

/** A scenario in which the power fails at every moment; the body says what is done from c.begin() on. */
export function crashScenario(
  title: string,
  kinds: KindName[],
  body: (c: Crash) => undefined | ((survivors: ReturnType<Crash['survive']>) => void),
  o: SubjectOptions = {},
): void {
  test(
    title,
    () => {
      const kernel = new KernelLook();
      each(kinds, (kind) => {
        const c = new Crash(kind, o);
        const look = body(c);
        const survivors = c.survive(kernel);
        look?.(survivors);
        c.subject.finish(kernel);
      });
      kernel.done();
    },
    LONG,
  );
}
