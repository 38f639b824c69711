// What a file system reads as, compared with a list that the Linux kernel's view of it gave. A line a file, fields
// apart by tabs: path, mode, uid:gid, links, size of a regular file, mtime in ns, sha256 or target or device, xattrs.

import { createHash } from 'node:crypto';
import type { Ext4 } from '../index.ts';
import type { Call } from './args.ts';
import { deviceNumbers, type Instant } from './format.ts';
import { bytesOf, linkOf, readRange, type Visit, walk } from './tree.ts';
import { attributesOf } from './xattr.ts';

export interface Verdict {
  files: number;
  /** Bytes that went into checksums. */
  bytes: number;
  /** What differs, a line each: expected and read. */
  differences: string[];
}

/** Reads everything and compares; `lost+found` is left out of the list. */
export async function compareWith(call: Call, img: Ext4, manifest: string): Promise<Verdict> {
  const expected = new Map(manifest.split('\n').map((line) => [line.split('\t')[0], line]));
  expected.delete('');
  const verdict: Verdict = { files: 0, bytes: 0, differences: [] };
  const complain = async (path: string, error: unknown) => {
    verdict.differences.push(`${path}: ${(error as Error).message}`);
  };
  for await (const visit of walk(img, call.io, '/', { complain })) {
    if (visit.leave || visit.path === '/lost+found') continue;
    verdict.files++;
    const line = await lineOf(img, visit, verdict).catch((error) => String(error));
    const wanted = expected.get(visit.path);
    expected.delete(visit.path);
    if (line !== wanted) verdict.differences.push(`expected ${wanted ?? 'nothing'}, read ${line}`);
  }
  for (const path of expected.keys()) verdict.differences.push(`${path} is missing`);
  return verdict;
}

async function lineOf(img: Ext4, visit: Visit, verdict: Verdict): Promise<string> {
  const { facts, path, type } = visit;
  const xattrs = (await attributesOf(img, path)).map(
    ({ name, value }) => `${name}=${Buffer.from(value).toString('hex')}`,
  );
  if (type === '-') verdict.bytes += facts.size;
  return [
    path,
    facts.mode.toString(8),
    `${facts.uid}:${facts.gid}`,
    facts.nlink,
    type === '-' ? facts.size : 0,
    nanoseconds(facts.mtime),
    await whatOf(img, visit),
    xattrs.join(' '),
  ].join('\t');
}

async function whatOf(img: Ext4, { facts, path, type }: Visit): Promise<string> {
  if (type === '-') return hashOf(img, path, facts.size);
  if (type === 'l') return linkOf(img, path);
  if (type !== 'c' && type !== 'b') return '';
  const { major, minor } = deviceNumbers(facts.rdev);
  return `${major},${minor}`;
}

/** The sha256 of a file's bytes, in hexadecimal. */
export async function hashOf(img: Ext4, path: string, size: number): Promise<string> {
  const hash = createHash('sha256');
  const handle = await img.promises.open(bytesOf(path), 'r');
  try {
    for await (const chunk of readRange(handle, 0, size)) hash.update(chunk);
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

const nanoseconds = ({ sec, nsec }: Instant): string =>
  String(BigInt(sec) * 1_000_000_000n + BigInt(nsec));
