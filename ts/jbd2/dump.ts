// What is in a journal, record by record, with the kernel's field names: for `ext4 journal`. Reads only, keeps
// nothing,
// and goes on where recovery would refuse: what is damaged is said to be so.

import type { Ext4Error } from '../errno.ts';
import type { Flow } from '../flow.ts';
import type { FastRecord } from './fastcommit.ts';
import { eachFastRecord, scanFastCommits } from './fastcommit.ts';
import type { CommitRecord } from './records.ts';
import { eachRevoked } from './records.ts';
import type { Descriptor, Scan, ScanObserver } from './scan.ts';
import { logAt, scanLog } from './scan.ts';
import type { JournalSource } from './source.ts';
import { LogWindow } from './source.ts';
import type { JournalSuper, LogFormat } from './super.ts';
import { journalFeatures, readSuper } from './super.ts';

/** A tag of a descriptor, and the journal block of its copy. */
export interface DumpTag {
  readonly t_blocknr: number;
  readonly t_flags: number;
  readonly t_checksum: number;
  readonly jblk: number;
}

/** `sound` is false where the block's checksum is wrong. */
export type DumpRecord =
  | { readonly kind: 'super'; readonly sb: JournalSuper; readonly features: string[] }
  | {
      readonly kind: 'descriptor';
      readonly tid: number;
      readonly jblk: number;
      readonly sound: boolean;
      readonly tags: DumpTag[];
    }
  | {
      readonly kind: 'revoke';
      readonly tid: number;
      readonly jblk: number;
      readonly sound: boolean;
      readonly blocks: number[];
    }
  | ({
      readonly kind: 'commit';
      readonly tid: number;
      readonly jblk: number;
      readonly sound: boolean;
    } & CommitRecord)
  | { readonly kind: 'fastCommit'; readonly tid: number; readonly record: FastRecord }
  | {
      /** The last: where the log ends, and why recovery would refuse it, if it would. */
      readonly kind: 'end';
      readonly tid: number;
      readonly jblk: number;
      readonly transactions: number;
      readonly error?: Ext4Error;
    };

/**
 * Calls `visit` with each record of the journal in its order: superblock, log, fast commits, end. EUCLEAN, EBADMSG or
 * EOPNOTSUPP when the superblock cannot be used.
 */
export function* dumpJournal(
  source: JournalSource,
  visit: (record: DumpRecord) => void,
): Flow<void> {
  const log = new LogWindow(source);
  const { sb, format } = yield* readSuper(log);
  visit({ kind: 'super', sb, features: journalFeatures(sb) });
  const scan = yield* scanLog(log, sb, format, observer(source, format, visit));
  if (sb.s_start !== 0 && !scan.broken) yield* dumpFast(log, format, scan, visit);
  const { end: tid, head: jblk, transactions, broken: error } = scan;
  visit({ kind: 'end', tid, jblk, transactions, ...(error && { error }) });
}

function observer(
  source: JournalSource,
  format: LogFormat,
  visit: (record: DumpRecord) => void,
): ScanObserver {
  return {
    descriptor(d, sound) {
      const { tid, jblk } = d;
      visit({ kind: 'descriptor', tid, jblk, sound, tags: dumpTags(format, d) });
    },
    revoke({ tid, jblk }, ptr, sound) {
      const blocks: number[] = [];
      eachRevoked(source.kernels, ptr, format, (home) => blocks.push(home));
      visit({ kind: 'revoke', tid, jblk, sound, blocks });
    },
    commit(tid, jblk, c, sound) {
      visit({ kind: 'commit', tid, jblk, sound, ...c });
    },
  };
}

function dumpTags(format: LogFormat, d: Descriptor): DumpTag[] {
  return d.tags.map((tag, i) => ({
    t_blocknr: tag.home,
    t_flags: tag.flags,
    t_checksum: tag.checksum,
    jblk: logAt(format, d.jblk, 1 + i),
  }));
}

function* dumpFast(
  log: LogWindow,
  format: LogFormat,
  scan: Scan,
  visit: (record: DumpRecord) => void,
): Flow<void> {
  const fast = yield* scanFastCommits(log, format, scan.end);
  if (!fast) return;
  yield* eachFastRecord(log, format, fast, (record) => {
    visit({ kind: 'fastCommit', tid: fast.tid, record });
    return undefined;
  });
}
