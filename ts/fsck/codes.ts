// Which problems e2fsck names and then lets pass: the verdict is clean in spite of them, and a repair mends them.
// Which problems a preen (`fsck -p`) mends by itself: those whose mending loses nothing that anyone could read.

export const MINOR: ReadonlySet<string> = new Set([
  'group-checksum',
  'group-block-flag',
  'super-free-blocks',
  'super-free-inodes',
  'super-quota-unused',
  'dir-type-unset',
  'super-extra-isize',
  'journal-errno',
]);

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
  'quota-usage',
]);
