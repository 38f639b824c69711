#!/usr/bin/env node
// The process of the command line: its descriptors, its interrupt, its exit code. All else is in run.ts, which the
// tests call with targets of their own.

import { isatty } from 'node:tty';
import { INTERRUPTED } from './errors.ts';
import { FdTarget, Io } from './io.ts';
import { run } from './run.ts';

const interrupt = new AbortController();

process.on('SIGINT', () => {
  // A second one does not wait for the clean-up.
  if (interrupt.signal.aborted) process.exit(INTERRUPTED);
  interrupt.abort();
});

/** Columns of a terminal without setting up a stream for descriptors that are none. */
function columnsOf(fd: number): number {
  const set = Number(process.env.COLUMNS);
  if (set > 0) return set;
  if (!isatty(fd)) return 80;
  return (fd === 1 ? process.stdout : process.stderr).columns ?? 80;
}

const target = (fd: number) => new FdTarget(fd, isatty(fd), columnsOf(fd));

process.exitCode = await run(
  process.argv.slice(2),
  new Io(target(1), target(2), process.env, interrupt.signal),
);
// What is still open (a keep-alive connection, a read nobody waits for) does not keep the command alive.
process.exit();
