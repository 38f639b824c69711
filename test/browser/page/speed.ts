// How fast it is here: cached reads and views against one Uint8Array.set out of the same memory, reading an OPFS file
// through the cache against reading it raw. Best of several rounds, all subjects in turn; for showing, not for judging.

import { type Ext4, mountSync } from 'ext4-wasm';
import { opfsDevice } from 'ext4-wasm/opfs';
import { copyToOpfs, removeFromOpfs, type Setting, type Speed } from './setting.ts';

const FILE = '/big.bin';
const SET = 16 << 20;
const PAGE = 4096;
const CALL = 1 << 20;
const ROUNDS = 12;
const CALLS = 4000;

interface AccessHandle {
  read(into: Uint8Array, o: { at: number }): number;
  getSize(): number;
  close(): void;
}

export async function measure({ files }: Setting): Promise<Speed[]> {
  const handle = await copyToOpfs(files['fs.img'], 'speed.img');
  const open = handle as unknown as { createSyncAccessHandle(): Promise<AccessHandle> };
  const access = await open.createSyncAccessHandle();
  const raw = best(() => readRaw(access));
  access.close();
  const device = await opfsDevice(handle);
  const cold = best(() => {
    const fs = mountSync(device, { ro: true, cacheBytes: 16 << 20 });
    const ms = readAll(fs);
    fs.unmountSync();
    return ms;
  });
  const fs = mountSync(device, { ro: true });
  const rows = cached(fs);
  fs.unmountSync();
  await device.close();
  await removeFromOpfs('speed.img');
  const rate = ({ bytes, ms }: Read) => `${(bytes / 1000 / ms).toFixed(0)} MB/s`;
  return [
    ...rows,
    { what: 'OPFS file, raw access handle, 1 MiB calls', value: rate(raw) },
    { what: 'OPFS file through the mount, empty cache, 1 MiB calls', value: rate(cold) },
  ];
}

interface Read {
  bytes: number;
  ms: number;
}

function best(fn: () => Read): Read {
  return Array.from({ length: 5 }, fn).reduce((a, b) => (a.bytes / a.ms > b.bytes / b.ms ? a : b));
}

function readRaw(access: AccessHandle): Read {
  const into = new Uint8Array(CALL);
  const bytes = access.getSize();
  const from = performance.now();
  for (let at = 0; at < bytes; at += CALL) access.read(into, { at });
  return { bytes, ms: performance.now() - from };
}

function readAll(fs: Ext4): Read {
  const into = new Uint8Array(CALL);
  const fd = fs.openSync(FILE, 'r');
  const from = performance.now();
  let bytes = 0;
  for (let n = 1; n > 0; bytes += n) n = fs.readSync(fd, into, 0, CALL, bytes);
  const ms = performance.now() - from;
  fs.closeSync(fd);
  return { bytes, ms };
}

/** Nanoseconds a call on a cached set, every subject at the same random pages. */
function cached(fs: Ext4): Speed[] {
  const fd = fs.openSync(FILE, 'r');
  const warm = fs.viewSync(fd, 0, SET);
  const memory = new Uint8Array(warm.memory.buffer);
  const base = warm.ptrs[0];
  warm.release();
  const into = new Uint8Array(PAGE);
  const pages = Uint32Array.from({ length: CALLS }, () => Math.floor((Math.random() * SET) / PAGE));
  const subjects: [string, (pos: number) => void][] = [
    ['cached 4 KiB random readSync', (pos) => void fs.readSync(fd, into, 0, PAGE, pos)],
    [
      'the bound: Uint8Array.set',
      (pos) => into.set(memory.subarray(base + pos, base + pos + PAGE)),
    ],
    ['cached 4 KiB viewSync and release', (pos) => fs.viewSync(fd, pos, PAGE).release()],
  ];
  const times = subjects.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, [, fn]] of subjects.entries()) {
      const from = performance.now();
      for (const page of pages) fn(page * PAGE);
      times[i] = Math.min(times[i], (performance.now() - from) / CALLS);
    }
  }
  fs.closeSync(fd);
  return subjects.map(([what], i) => ({ what, value: `${(times[i] * 1e6).toFixed(0)} ns` }));
}
