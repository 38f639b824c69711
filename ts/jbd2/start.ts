// The journal superblock as a writer changes it: features at the first read-write mount, where the log begins while
// it holds something, empty at the end, the errno when the journal aborts. Each is one forced write of one block.

import * as F from '../../assembly/format/jbd2.ts';
import { type Flow, flushDevice, readDevice, writeDevice } from '../flow.ts';
import type { LogArea } from './journal.ts';
import type { Recovery } from './recovery.ts';
import { type JournalSource, LogWindow, place } from './source.ts';
import { encodeEmpty, readSuper, superChecksum } from './super.ts';

/** Reads the superblock's block into the window, lets `change` edit it there, sums it and writes it, forced. */
function* edit(source: JournalSource, change: (ptr: number) => void): Flow<void> {
  const { window, blockSize, kernels } = source;
  const ptr = window.ptr + window.bytes - blockSize;
  const into = kernels.u8.subarray(ptr, ptr + blockSize);
  const dpos = place(source, source.superBlock);
  yield* readDevice(source.device, [{ into, dpos }]);
  change(ptr);
  const { dv } = kernels;
  const summed = F.JBD2_FEATURE_INCOMPAT_CSUM_V2 | F.JBD2_FEATURE_INCOMPAT_CSUM_V3;
  if ((dv.getUint32(ptr + F.JS_FEATURE_INCOMPAT) & summed) !== 0) {
    dv.setUint32(ptr + F.JS_CHECKSUM, superChecksum(kernels, ptr));
  }
  yield* writeDevice(source.device, into, dpos, { fua: true });
}

/** Says where the log begins. */
export function* writeStart(area: LogArea, start: number, tid: number): Flow<void> {
  yield* edit(area.source, (ptr) => {
    const { dv } = area.source.kernels;
    dv.setUint32(ptr + F.JS_SEQUENCE, tid);
    dv.setUint32(ptr + F.JS_START, start);
  });
  yield* flushDevice(area.source.device);
  area.clean = false;
  area.tail = start;
  area.tailTid = tid;
}

/** Says that the log is empty and what comes next. */
export function* writeEmpty(area: LogArea, nextTid: number): Flow<void> {
  yield* edit(area.source, (ptr) => encodeEmpty(area.source.kernels, ptr, nextTid, area.head));
  yield* flushDevice(area.source.device);
  area.clean = true;
  area.used = 0;
}

/** Leaves a negative errno for the next mount. */
export function* writeErrno(area: LogArea, errno: number): Flow<void> {
  yield* edit(area.source, (ptr) => area.source.kernels.dv.setInt32(ptr + F.JS_ERRNO, errno));
}

/** The log as the transaction sees it that the fast commits are part of: it comes next, behind the last whole one. */
export function areaBehind(source: JournalSource, recovery: Recovery): LogArea {
  return {
    source,
    format: { ...recovery.format, v1: false, asyncCommit: false },
    uuid: recovery.sb.s_uuid,
    head: recovery.head,
    tail: recovery.head,
    tailTid: recovery.fastCommits!.tid,
    used: 0,
    clean: false,
  };
}

/** Empties the log without taking back the fast commits: until their transaction is there whole, they count. What the
 *  log held must be home and flushed. */
export function* writeBehind({ source, tail, tailTid }: LogArea): Flow<void> {
  yield* edit(source, (ptr) => {
    const { dv } = source.kernels;
    const compat = dv.getUint32(ptr + F.JS_FEATURE_COMPAT) & ~F.JBD2_FEATURE_COMPAT_CHECKSUM;
    const bits = dv.getUint32(ptr + F.JS_FEATURE_INCOMPAT) | F.JBD2_FEATURE_INCOMPAT_REVOKE;
    const incompat = bits & ~F.JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT;
    dv.setUint32(ptr + F.JS_FEATURE_COMPAT, compat >>> 0);
    dv.setUint32(ptr + F.JS_FEATURE_INCOMPAT, incompat >>> 0);
    dv.setUint32(ptr + F.JS_SEQUENCE, tailTid);
    dv.setUint32(ptr + F.JS_START, tail);
  });
  yield* flushDevice(source.device);
}

/** Opens an empty log for writing: 64bit and checksum v3 where the file system has metadata checksums, as the kernel
 *  does at the first read-write mount; revoke always. */
export function* openLog(
  source: JournalSource,
  summed: boolean,
  wide: boolean,
): Flow<{ area: LogArea; nextTid: number; errno: number }> {
  yield* edit(source, (ptr) => {
    const { dv } = source.kernels;
    if (dv.getUint32(ptr + F.H_BLOCKTYPE) !== F.JBD2_SUPERBLOCK_V2) return;
    let bits = dv.getUint32(ptr + F.JS_FEATURE_INCOMPAT) | F.JBD2_FEATURE_INCOMPAT_REVOKE;
    bits &= ~(F.JBD2_FEATURE_INCOMPAT_CSUM_V2 | F.JBD2_FEATURE_INCOMPAT_CSUM_V3);
    if (wide) bits |= F.JBD2_FEATURE_INCOMPAT_64BIT;
    if (summed) bits |= F.JBD2_FEATURE_INCOMPAT_CSUM_V3;
    bits &= ~F.JBD2_FEATURE_INCOMPAT_FAST_COMMIT & ~F.JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT;
    const compat = dv.getUint32(ptr + F.JS_FEATURE_COMPAT) & ~F.JBD2_FEATURE_COMPAT_CHECKSUM;
    dv.setUint32(ptr + F.JS_FEATURE_COMPAT, compat >>> 0);
    dv.setUint32(ptr + F.JS_FEATURE_INCOMPAT, bits >>> 0);
    if (summed) dv.setUint8(ptr + F.JS_CHECKSUM_TYPE, F.JBD2_CRC32C_CHKSUM);
  });
  const log = new LogWindow(source);
  const { sb, format } = yield* readSuper(log);
  const uuid = sb.s_uuid.slice();
  const area: LogArea = {
    source,
    format,
    uuid,
    head: format.first,
    tail: format.first,
    tailTid: sb.s_sequence,
    used: 0,
    clean: true,
  };
  return { area, nextTid: sb.s_sequence, errno: sb.s_errno };
}
