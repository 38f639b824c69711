// Run by `pretest`: installs, as root on a machine with apt, what the oracles need. Silent and quick when all is
// there. It never fails the run: where it may not install, the tests say `not run: install X` (and fail under CI).

import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const PACKAGES = {
  e2fsprogs: ['mke2fs', 'debugfs', 'dumpe2fs', 'e2fsck', 'filefrag', 'chattr'],
  chromium: ['chromium'],
  python3: ['python3'],
  fdisk: ['sfdisk'],
  gdisk: ['sgdisk'],
  'qemu-utils': ['qemu-nbd'],
  'libarchive-tools': ['bsdtar'],
  mount: ['mount', 'losetup'],
};

const PATH = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin'];

function has(tool) {
  return PATH.some((dir) => {
    try {
      accessSync(join(dir, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function run(command, args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = { env, stdio: ['ignore', 'ignore', 'inherit'], timeout: 600_000 };
  return spawnSync(command, args, options).status === 0;
}

const wanted = Object.entries(PACKAGES)
  .filter(([, tools]) => !tools.every(has))
  .map(([name]) => name);

if (wanted.length > 0) {
  const may = process.getuid?.() === 0 && has('apt-get');
  console.error(`test set-up: ${may ? 'installing' : 'please install'} ${wanted.join(' ')}`);
  if (may) {
    run('apt-get', ['-qq', 'update']);
    // One at a time: a package that this release does not have must not keep the others away.
    for (const name of wanted) {
      if (!run('apt-get', ['-qq', '-y', '--no-install-recommends', 'install', name])) {
        console.error(`test set-up: could not install ${name}`);
      }
    }
  }
}
