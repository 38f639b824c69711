// A read-only face of a device on which some blocks are read from elsewhere: what a journal replay in memory leaves,
// home block to journal position, no bytes held. An escaped block gets its first word, the journal's magic, back.

import { JBD2_MAGIC_NUMBER } from '../../assembly/format/jbd2.ts';
import { Ext4Error } from '../errno.ts';
import type { BlockDevice, DeviceOptions, ReadRange } from './device.ts';

export interface Remapped {
  /** Byte position on the journal's device. */
  dpos: number;
  escaped: boolean;
}

interface Piece extends ReadRange {
  from: BlockDevice;
  escaped: boolean;
}

/** `device` with the blocks of `map` (by block number) read from `journal` instead. Not directly addressable. */
export function remap(
  device: BlockDevice,
  journal: BlockDevice,
  blockSize: number,
  map: ReadonlyMap<number, Remapped>,
): BlockDevice {
  const split = (ranges: ReadRange[]) => pieces(device, journal, blockSize, map, ranges);
  const refuse = () => new Ext4Error('EROFS', 'a journal replayed in memory');
  const readvSync = (ranges: ReadRange[]) => {
    for (const p of split(ranges)) {
      p.from.readSync!(p.into, p.dpos);
      restore(p);
    }
  };
  const readv = async (ranges: ReadRange[], o?: DeviceOptions) => {
    const all = split(ranges);
    const home = all.filter((p) => p.from === device);
    const many = home.length > 1 && device.readv !== undefined;
    const apart = many ? all.filter((p) => p.from !== device) : all;
    await Promise.all([
      many ? device.readv!(home, o) : undefined,
      ...apart.map((p) => p.from.read(p.into, p.dpos, o)),
    ]);
    all.forEach(restore);
  };
  const sync = device.readSync !== undefined && journal.readSync !== undefined;
  return {
    size: device.size,
    blockSize: device.blockSize,
    readOnly: true,
    fua: false,
    discardZeroes: false,
    read: (into, dpos, o) => readv([{ into, dpos }], o),
    readv,
    write: () => Promise.reject(refuse()),
    flush: () => Promise.resolve(),
    close: () => device.close(),
    closeSync: () => device.closeSync?.(),
    ...(sync && {
      readSync: (into: Uint8Array, dpos: number) => readvSync([{ into, dpos }]),
      readvSync,
      writeSync: () => {
        throw refuse();
      },
      flushSync: () => {},
    }),
  };
}

/** Cuts ranges where a remapped block begins or ends. */
function pieces(
  device: BlockDevice,
  journal: BlockDevice,
  blockSize: number,
  map: ReadonlyMap<number, Remapped>,
  ranges: ReadRange[],
): Piece[] {
  const found: Piece[] = [];
  for (const { into, dpos } of ranges) {
    let plain = 0;
    const flush = (end: number) => {
      if (end > plain) {
        const part = into.subarray(plain, end);
        found.push({ from: device, into: part, dpos: dpos + plain, escaped: false });
      }
    };
    for (let at = 0; at < into.length; ) {
      const pblk = Math.floor((dpos + at) / blockSize);
      const next = Math.min(into.length, (pblk + 1) * blockSize - dpos);
      const to = map.get(pblk);
      if (to !== undefined) {
        flush(at);
        const off = dpos + at - pblk * blockSize;
        const escaped = to.escaped && off === 0;
        found.push({ from: journal, into: into.subarray(at, next), dpos: to.dpos + off, escaped });
        plain = next;
      }
      at = next;
    }
    flush(into.length);
  }
  return found;
}

function restore(p: Piece): void {
  if (!p.escaped) return;
  const magic = new Uint8Array(4);
  new DataView(magic.buffer).setUint32(0, JBD2_MAGIC_NUMBER);
  p.into.set(magic, 0);
}
