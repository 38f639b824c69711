// Runs the benchmarks in this folder: `npm run bench -- [--quick] [NAME…]`, all when no name is given. Each is a
// process of its own, so that one's heap and compiled code do not colour the next. Exits 1 when one fails.

import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const HELPERS = new Set(['main.mjs', 'harness.mjs', 'lib.mjs']);
const dir = import.meta.dirname;
const args = process.argv.slice(2);
const flags = args.filter((arg) => arg.startsWith('-'));
const names = args.filter((arg) => !arg.startsWith('-'));

const all = readdirSync(dir)
  .filter((file) => file.endsWith('.mjs') && !HELPERS.has(file))
  .map((file) => file.slice(0, -4))
  .sort();
const unknown = names.filter((name) => !all.includes(name));
if (unknown.length > 0 || flags.includes('--help')) {
  if (unknown.length > 0) console.error(`bench: no such benchmark: ${unknown.join(' ')}`);
  console.error(`usage: npm run bench -- [--quick] [NAME…]\nnames: ${all.join(' ')}`);
  process.exit(unknown.length > 0 ? 2 : 0);
}

const failed = [];
for (const name of names.length > 0 ? names : all) {
  console.log(`\n# ${name}`);
  const command = [...process.execArgv, '--expose-gc', join(dir, `${name}.mjs`), ...flags];
  const { status, signal } = spawnSync(process.execPath, command, { stdio: 'inherit' });
  if (status !== 0) failed.push(signal ? `${name} (${signal})` : name);
}
if (failed.length > 0) {
  console.error(`\nbench: failed: ${failed.join(' ')}`);
  process.exit(1);
}
