// POSIX ACLs between the kernel's xattr form (`system.posix_acl_*`: le32 version 2, then le16 tag, le16 permissions
// and le32 id an entry) and the text that GNU tar and bsdtar keep in `SCHILY.acl.*` records. Ids stay numbers.

const TAGS: Record<number, string> = {
  1: 'user',
  2: 'user',
  4: 'group',
  8: 'group',
  16: 'mask',
  32: 'other',
};
const NAMED = new Set([2, 8]);

/** `user::rw-,user:1000:r--,…`, or undefined when the bytes are not an ACL of version 2. */
export function aclText(value: Uint8Array): string | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (value.length < 4 || value.length % 8 !== 4 || view.getUint32(0, true) !== 2) return undefined;
  const entries: string[] = [];
  for (let off = 4; off < value.length; off += 8) {
    const tag = view.getUint16(off, true);
    const perm = view.getUint16(off + 2, true);
    if (TAGS[tag] === undefined || perm > 7) return undefined;
    const id = NAMED.has(tag) ? String(view.getUint32(off + 4, true)) : '';
    entries.push(`${TAGS[tag]}:${id}:${permissions(perm)}`);
  }
  return entries.join(',');
}

function permissions(perm: number): string {
  return `${perm & 4 ? 'r' : '-'}${perm & 2 ? 'w' : '-'}${perm & 1 ? 'x' : '-'}`;
}
