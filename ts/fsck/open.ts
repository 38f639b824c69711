// Opening an image for a check: the primary superblock, or where it is of no use the first backup that is, at the
// places where each block size would have it. What no superblock describes cannot be checked at all.

import * as F from '../../assembly/format/ext4.ts';
import type { BlockDevice } from '../block/device.ts';
import { Ext4Error } from '../errno.ts';
import { Checksums, superChecksum } from '../ext4/checksum.ts';
import { COMPAT_NAMES, featureNames, hasBit, RO_COMPAT_NAMES } from '../ext4/features.ts';
import { readRawSuper } from '../ext4/recover.ts';
import { Super } from '../ext4/super.ts';
import { type Flow, readDevice } from '../flow.ts';
import { Disk } from './disk.ts';

export interface Opened {
  sb: Super;
  disk: Disk;
  /** Why the primary superblock is not used; '' when it is. */
  lost: string;
}

const DEFAULT_MEMORY = 32 << 20;
const BLOCK_SIZES = [1024, 2048, 4096, 8192, 16384, 32768, 65536];
const COMPAT_KNOWN = COMPAT_NAMES.reduce((bits, [bit]) => bits + bit, 0);
const RO_COMPAT_KNOWN = RO_COMPAT_NAMES.reduce((bits, [bit]) => bits + bit, 0);
const RO_COMPAT_REFUSED = F.RO_COMPAT_BTREE_DIR | F.RO_COMPAT_HAS_SNAPSHOT | F.RO_COMPAT_REPLICA;

/** Finds the superblock. EINVAL, EUCLEAN or EOPNOTSUPP when the image cannot be checked. */
export function* openImage(
  device: BlockDevice,
  cacheBytes = DEFAULT_MEMORY,
  disk?: Disk,
): Flow<Opened> {
  const { raw } = yield* readRawSuper(device);
  const primary = judge(raw.slice());
  if (primary instanceof Super) return opened(device, primary, cacheBytes, '', disk);
  if (primary.code === 'EOPNOTSUPP') throw primary;
  const backup = yield* findBackup(device);
  if (backup === null) throw primary;
  return opened(device, backup, cacheBytes, primary.message, disk);
}

function opened(
  device: BlockDevice,
  sb: Super,
  cacheBytes: number,
  lost: string,
  before?: Disk,
): Opened {
  if (device.blockSize > sb.blockSize) {
    const why = `blocks of ${sb.blockSize} on a device with ${device.blockSize}`;
    throw new Ext4Error('EINVAL', why);
  }
  if (before?.blockSize === sb.blockSize) {
    before.drop();
    return { sb, disk: before, lost };
  }
  return { sb, disk: new Disk(device, sb.blockSize, cacheBytes), lost };
}

/** The superblock when it can be believed, or why it cannot. */
function judge(raw: Uint8Array): Super | Ext4Error {
  try {
    const sb = new Super(raw);
    checkFeatures(sb);
    const revision = sb.u32(F.S_REV_LEVEL);
    if (revision > 1) return new Ext4Error('EOPNOTSUPP', `superblock: revision ${revision}`);
    const log = sb.u32(F.S_LOG_CLUSTER_SIZE);
    if (sb.clusterBlocks === 1 && revision > 0 && log !== sb.u32(F.S_LOG_BLOCK_SIZE))
      return new Ext4Error('EUCLEAN', `superblock: s_log_cluster_size ${log}`);
    const clusters = sb.u32(F.S_CLUSTERS_PER_GROUP);
    if (sb.clusterBlocks === 1 && sb.u32(F.S_REV_LEVEL) > 0 && clusters !== sb.blocksPerGroup)
      return new Ext4Error('EUCLEAN', `superblock: ${clusters} clusters in a group`);
    if (!sb.metadataCsum) return sb;
    const scratch = new Disk({ size: 0 } as BlockDevice, 1024, 0);
    const sum = superChecksum(new Checksums(scratch.kernels, sb), sb);
    const type = sb.u8(F.S_CHECKSUM_TYPE);
    if (type !== 1) return new Ext4Error('EUCLEAN', `superblock: checksum type ${type}`);
    if (sum === sb.u32(F.S_CHECKSUM)) return sb;
    return new Ext4Error('EBADMSG', { record: 'superblock', reason: 'bad checksum' });
  } catch (error) {
    if (error instanceof Ext4Error) return error;
    throw error;
  }
}

function checkFeatures(sb: Super): void {
  const names = [
    ...featureNames(COMPAT_NAMES, (sb.compat & ~COMPAT_KNOWN) >>> 0, 'FEATURE_C'),
    ...featureNames(RO_COMPAT_NAMES, (sb.roCompat & ~RO_COMPAT_KNOWN) >>> 0, 'FEATURE_R'),
    ...featureNames(RO_COMPAT_NAMES, (sb.roCompat & RO_COMPAT_REFUSED) >>> 0, 'FEATURE_R'),
  ];
  if (names.length === 0) return;
  const reason = `unsupported: ${names.join(', ')}`;
  throw new Ext4Error('EOPNOTSUPP', { record: 'superblock', features: names, reason });
}

/** The copy in group 1, for each block size in turn; null when there is none that can be believed. */
function* findBackup(device: BlockDevice): Flow<Super | null> {
  const unit = Math.max(1024, device.blockSize);
  for (const blockSize of BLOCK_SIZES) {
    const dpos = (8 * blockSize + (blockSize === 1024 ? 1 : 0)) * blockSize;
    if (dpos + unit > device.size || dpos % unit !== 0) continue;
    const into = new Uint8Array(unit);
    yield* readDevice(device, [{ into, dpos }]);
    const found = judge(into.slice(0, F.SB_SIZE));
    if (found instanceof Super && found.blockSize === blockSize) return found;
  }
  return null;
}

/** Whether the file system has needs_recovery set. */
export function needsRecovery(sb: Super): boolean {
  return hasBit(sb.incompat, F.INCOMPAT_RECOVER);
}
