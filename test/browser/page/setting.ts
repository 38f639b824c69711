// What the checks of one page run with: the images as chosen files, the manifests, and where the other server is.

import type { Manifests } from './manifest.ts';
import type { Result } from './report.ts';

export interface Setting {
  files: Record<'fs.img' | 'disk.img' | 'crash.img', File>;
  manifests: Manifests;
  /** Whether the server sends COOP and COEP. */
  isolated: boolean;
  /** Origin of this page, and of another server that allows cross-origin requests in some places. */
  origin: string;
  elsewhere: string;
}

/** Messages from the worker to its page. */
export type FromWorker =
  | { kind: 'result'; result: Result }
  | { kind: 'view'; memory: WebAssembly.Memory; ptr: number; len: number; port: MessagePort }
  | { kind: 'tree'; lines: string[] }
  | { kind: 'speed'; rows: Speed[] }
  | { kind: 'done' };

export interface Speed {
  what: string;
  /** With its unit. */
  value: string;
}

export const README = 'ext4 in the browser: Grüße, 日本語, 🐧\n'.repeat(3);

/** The OPFS file of this name, with the contents of `from`. In a worker. */
export async function copyToOpfs(from: Blob, name: string): Promise<FileSystemFileHandle> {
  const root = await navigator.storage.getDirectory();
  const handle = await root.getFileHandle(name, { create: true });
  const writable = await handle.createWritable();
  await from.stream().pipeTo(writable);
  return handle;
}

export async function removeFromOpfs(name: string): Promise<void> {
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(name);
}

/** What api.ts must find in fs.img. */
export function knownOf({ main }: Manifests) {
  const path = [...'/big.bin'].map((char) => char.charCodeAt(0).toString(16)).join('');
  const { size = 0, sha256 = '' } = main.entries.find((entry) => entry.path === path) ?? {};
  return { big: { size, sha256 }, xattrs: main.xattrs ?? { note: '', long: '' }, readme: README };
}
