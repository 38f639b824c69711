// One mount in one process, so that its resident memory can be told: mounts, reads what it is told to, and reports
// the most memory that its cache and the process had. Bundled and started by limits.test.ts.

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import type { BlockDevice } from '../../ts/block/device.ts';
import { memoryDevice } from '../../ts/block/memory.ts';
import { openFile } from '../../ts/block/node.ts';
import { type Ext4, mountSync } from '../../ts/index.ts';

export interface Job {
  image: string;
  /** Where the image's data lies: it is then copied to a sparse memory device. */
  ranges?: [number, number][];
  options: { cacheBytes: number; shared: boolean };
}

export interface Report {
  /** Bytes of the linear memory that the mount works in. */
  memory: number;
  /** Most bytes in use of it. */
  used: number;
  evictions: number;
  /** Most resident bytes, less what was resident before the mount. */
  growth: number;
  pins: number;
  files: number;
  /** Bytes of files that were read and had the contents they should have. */
  right: number;
  blocks: number;
}

process.on('message', (job: Job) => {
  process.send!(run(job));
});

function resident(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))![1]) * 1024;
}

function run(job: Job): Report {
  const device = open(job);
  const before = resident();
  const img = mountSync(device, { ro: true, ...job.options });
  const view = img.viewSync('/tree/large', 0, 4096);
  const report: Report = {
    memory: view.memory.buffer.byteLength,
    used: 0,
    evictions: 0,
    growth: 0,
    pins: 0,
    files: 0,
    right: 0,
    blocks: 0,
  };
  view.release();
  const look = () => {
    const { cacheBytes, freeBytes } = img.counters();
    report.used = Math.max(report.used, cacheBytes - freeBytes);
    report.growth = Math.max(report.growth, resident() - before);
  };
  look();
  report.blocks = img.statfsSync('/').blocks;
  look();
  readTree(img, report, look);
  const { evictions, pins } = img.counters();
  Object.assign(report, { evictions, pins });
  img.unmountSync();
  device.closeSync?.();
  return report;
}

function open({ image, ranges }: Job): BlockDevice {
  if (ranges === undefined) return openFile(image, { readOnly: true });
  const file = openFile(image, { readOnly: true });
  const device = memoryDevice(file.size, { sparse: true });
  file.closeSync();
  const fd = openSync(image, 'r');
  const part = new Uint8Array(1 << 20);
  for (const [from, to] of ranges) {
    for (let pos = from; pos < to; pos += part.length) {
      const len = Math.min(part.length, to - pos);
      readSync(fd, part, 0, len, pos);
      device.writeSync(part.subarray(0, len), pos);
    }
  }
  closeSync(fd);
  return device;
}

/** Every file of /tree in pieces of 64 KiB, each piece checked against its file's pattern. */
function readTree(img: Ext4, report: Report, look: () => void): void {
  const into = Buffer.alloc(65536);
  for (const name of img.readdirSync('/tree') as string[]) {
    const fd = img.openSync(`/tree/${name}`, 'r');
    report.files++;
    for (let pos = 0; ; ) {
      const count = img.readSync(fd, into, 0, into.length, pos);
      if (count === 0) break;
      if (holds(into.subarray(0, count), pos)) report.right += count;
      pos += count;
      if (pos % (4 << 20) < 65536) look();
    }
    img.closeSync(fd);
  }
  look();
}

/** Every eighth byte says where it lies. */
function holds(bytes: Buffer, pos: number): boolean {
  for (let at = 0; at + 4 <= bytes.length; at += 8) {
    if (bytes.readUInt32LE(at) !== pos + at) return false;
  }
  return true;
}
