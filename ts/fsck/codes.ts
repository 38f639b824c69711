// Which problems a preen (`fsck -p`) mends by itself: those whose mending loses nothing that anyone could read.

export const PREEN: ReadonlySet<string> = new Set([
  'needs-recovery',
  'orphan',
  'orphan-file',
  'super-free-blocks',
  'super-free-inodes',
  'group-free-blocks',
  'group-free-inodes',
  'group-dirs',
  'group-checksum',
  'block-bitmap',
  'inode-bitmap',
  'bitmap-checksum',
  'inode-blocks',
  'inode-checksum',
  'deleted-dtime',
  'link-count',
  'dir-type',
]);
