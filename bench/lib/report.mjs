// The table that a benchmark prints: a line a measurement, as Markdown. A line passes when the best slices reach its
// target (the undisturbed core); the ratio of the median slices stands beside. finish() sets the exit status.

import os from 'node:os';
import { ratio } from '../harness.mjs';

const rows = [];
let failed = 0;

/** Nanoseconds as a reader likes them. */
export function time(ns) {
  if (ns < 9999) return `${ns.toFixed(ns < 100 ? 1 : 0)} ns`;
  return ns < 1e7 ? `${(ns / 1e3).toFixed(1)} µs` : `${(ns / 1e6).toFixed(1)} ms`;
}

/** A rate: `bytes` moved in `ns`. */
export function rate(bytes, ns) {
  return `${Math.round(bytes / 2 ** 20 / (ns / 1e9)).toLocaleString('en')} MiB/s`;
}

/** A line from the times of a race: `ours` against `peer`, at least `target` times as fast; without a target it only
 *  informs. `show` makes text of nanoseconds; `by: 'median'` judges by the medians. */
export function compare(what, times, { ours, peer, target, show = time, by = 'min' }) {
  if (!times.has(peer)) return;
  const found = ratio(times, ours, peer);
  const figures = `${found.min.toFixed(2)} (${found.median.toFixed(2)})`;
  const both = (name) => `${show(times.get(name).min)} (${show(times.get(name).median)})`;
  const verdict = target === undefined ? '' : mark(found[by] >= target);
  const wanted = target === undefined ? '' : `≥ ${target}`;
  rows.push([what, both(ours), peer, both(peer), figures, wanted, verdict]);
}

/** A line with a figure of its own. */
export function state(what, figure, { against = '', limit = '', passed } = {}) {
  rows.push([what, figure, against, '', '', limit, passed === undefined ? '' : mark(passed)]);
}

function mark(passed) {
  if (!passed) failed++;
  return passed ? 'PASS' : '**FAIL**';
}

/** Prints the table; with --gate it exits 1 when a line failed: a shared machine is no judge. */
export function finish(command) {
  const head = ['what', 'best (median)', 'against', 'best (median)', 'ratio', 'line', ''];
  const lines = [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`);
  const cpu = os.cpus()[0]?.model ?? 'unknown CPU';
  const load = os.loadavg()[0].toFixed(1);
  console.log(`\n${lines.join('\n')}`);
  const machine = `${cpu}, ${os.cpus().length} cores, load ${load}`;
  console.log(`\n\`${command}\`, Node ${process.versions.node}, ${machine}`);
  console.log(failed === 0 ? 'all lines hold' : `${failed} lines do not hold`);
  if (process.argv.includes('--gate') && failed > 0) process.exitCode = 1;
}
