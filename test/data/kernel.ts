// What the kernel reads of images that we wrote: each is mounted as it is, journal and all. Images are collected
// during a test and looked at in one go.

import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { need, ORACLES } from '../need.ts';
import { scratch } from '../write/images.ts';

const SCRIPT = join(import.meta.dirname, 'look.py');
/** Images that wait at once: they lie in memory. */
const MOST = 12;

/** Needs of a test that asks the kernel. */
export const KERNEL_NEEDS = [need.root(), need.loop(), need.oracles()];
export const hasKernel = KERNEL_NEEDS.every((missing) => missing === '');

interface Wait {
  path: string;
  where: string;
  size: number;
  sha: string;
}

let serial = 0;

export class KernelLook {
  readonly #waiting: Wait[] = [];

  /** The kernel will be asked whether /f of this image has these bytes. */
  expect(image: Uint8Array, where: string, size: number, sha: string): void {
    const path = scratch(`look-${serial++}.img`);
    writeFileSync(path, image);
    this.#waiting.push({ path, where, size, sha });
    if (this.#waiting.length >= MOST) this.done();
  }

  /** Asks. */
  done(): void {
    const asked = this.#waiting.splice(0);
    if (asked.length === 0) return;
    const out = execFileSync('python3', [SCRIPT, ORACLES], {
      input: JSON.stringify(asked.map(({ path }) => path)),
      encoding: 'utf8',
      timeout: 120_000,
    });
    const seen = JSON.parse(out) as unknown[];
    for (const { path } of asked) rmSync(path);
    asked.forEach(({ where, size, sha }, i) => {
      expect(seen[i], `${where}: the kernel reads`).toEqual({ size, sha });
    });
  }
}
