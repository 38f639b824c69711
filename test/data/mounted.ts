// A mount of a fresh image, for sets of features that no kind of subject has.

import { expect } from 'vitest';
import { memoryDevice } from '../../ts/block/memory.ts';
import { type FileSystem, mountVfsSync } from '../../ts/vfs/filesystem.ts';
import type { MountOptions } from '../../ts/vfs/options.ts';
import { bytes } from '../write/driver.ts';
import { contents, type FeatureSet, fsck, makeImage } from '../write/images.ts';

export interface Mounted {
  fs: FileSystem;
  image: () => Uint8Array;
  open: (path?: string) => number;
  write: (fd: number, pos: number, len: number, byte: number) => void;
  end: () => void;
}

/** A mount of a fresh image, for sets of features that no kind has. */
export function mounted(set: FeatureSet, o: MountOptions = {}): Mounted {
  const device = memoryDevice(makeImage(set), { sparse: true });
  const fs = mountVfsSync(device, { dax: 'never', ...o });
  return {
    fs,
    image: () => contents(device),
    open: (path = '/f') => fs.openSync(bytes(path), 0o102, 0o644),
    write: (fd, pos, len, byte) => {
      const data = new Uint8Array(len).fill(byte);
      for (let at = 0; at < len; ) at += fs.writeSync(fd, data, at, len - at, pos + at);
    },
    end: () => {
      fs.runSync(fs.unmount());
      expect(fsck(contents(device))).toBe('');
    },
  };
}
