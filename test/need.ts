// What a test needs from the machine. A suite is declared with `need.describe(name, [needs], body)`; where something
// is missing it becomes one test `not run: install X`, which is skipped on a developer's machine and fails under CI.
// A need is a text that says what to install, or '' when it is there. Each is looked up once a process.

import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

export type Need = string;

/** Where the oracles lie: beside the project, or where EXT4_ORACLES says. */
export const ORACLES = resolve(
  process.env.EXT4_ORACLES ?? join(import.meta.dirname, '../../shared/oracles'),
);

/** Set by .ci/run for the long versions of the oracle and fuzz suites. */
export const DEEP = Boolean(process.env.DEEP);

const PACKAGE_OF: Record<string, string> = {
  mke2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  dumpe2fs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  tune2fs: 'e2fsprogs',
  e2image: 'e2fsprogs',
  filefrag: 'e2fsprogs',
  chattr: 'e2fsprogs',
  lsattr: 'e2fsprogs',
  sfdisk: 'fdisk',
  sgdisk: 'gdisk',
  'grub-fstest': 'grub-common',
  'qemu-nbd': 'qemu-utils',
  bsdtar: 'libarchive-tools',
};

const found = new Map<string, string>();

/** The full path of a command, or '' when the machine has none. */
export function which(tool: string): string {
  let path = found.get(tool);
  if (path === undefined) {
    const dirs = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
    path = dirs.map((dir) => join(dir, tool)).find(executable) ?? '';
    found.set(tool, path);
  }
  return path;
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function tool(...names: string[]): Need {
  const missing = names.filter((name) => which(name) === '');
  return [...new Set(missing.map((name) => PACKAGE_OF[name] ?? name))].join(' ');
}

function root(): Need {
  return process.getuid?.() === 0 ? '' : '(run as root)';
}

function loop(): Need {
  if (root()) return root();
  try {
    closeSync(openSync('/dev/loop-control', 'r+'));
    return tool('python3', 'mount');
  } catch {
    return 'loop devices (modprobe loop)';
  }
}

function oracles(): Need {
  return existsSync(join(ORACLES, 'images/manifest.tsv')) ? '' : `the oracles in ${ORACLES}`;
}

function chromium(): Need {
  return tool('chromium');
}

/** `describe`, or where a need is missing one test that says so: skipped here, failed under CI. */
function describeWith(name: string, needs: Need[], body: () => void): void {
  const missing = [...new Set(needs.filter(Boolean))].join(' ');
  if (missing === '') {
    describe(name, body);
    return;
  }
  describe(name, () => {
    test(`not run: install ${missing}`, (context) => {
      if (process.env.CI) expect.unreachable(`not run: install ${missing}`);
      console.warn(`${name}: not run: install ${missing}`);
      context.skip(`install ${missing}`);
    });
  });
}

export const need = { root, tool, loop, oracles, chromium, describe: describeWith };
