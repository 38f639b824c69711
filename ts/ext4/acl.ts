// POSIX ACLs: ext4 keeps them in a short form of its own; xattrs of the name system.posix_acl_* show the form that
// acl(5) tools read: version 2, entries of tag, permissions and id.

import { corrupt } from '../errno.ts';

const DISK_VERSION = 1;
const WIRE_VERSION = 2;
const ACL_USER = 0x02;
const ACL_GROUP = 0x08;
const TAGS = [0x01, ACL_USER, 0x04, ACL_GROUP, 0x10, 0x20];
const NO_ID = 0xffffffff;

/** The form of system.posix_acl_* from the form on disk. EUCLEAN when it breaks a rule. */
export function aclToWire(disk: Uint8Array, ino: number): Uint8Array {
  const dv = new DataView(disk.buffer, disk.byteOffset, disk.byteLength);
  const bad = (reason: string) => corrupt('acl', reason, { ino });
  if (disk.length < 4 || dv.getUint32(0, true) !== DISK_VERSION) throw bad('unknown version');
  const entries: { tag: number; perm: number; id: number }[] = [];
  for (let at = 4; at < disk.length; ) {
    if (at + 4 > disk.length) throw bad('cut off');
    const tag = dv.getUint16(at, true);
    const perm = dv.getUint16(at + 2, true);
    const named = tag === ACL_USER || tag === ACL_GROUP;
    if (!TAGS.includes(tag) || (named && at + 8 > disk.length)) throw bad(`tag ${tag}`);
    entries.push({ tag, perm, id: named ? dv.getUint32(at + 4, true) : NO_ID });
    at += named ? 8 : 4;
  }
  return encode(entries);
}

function encode(entries: { tag: number; perm: number; id: number }[]): Uint8Array {
  const wire = new Uint8Array(4 + 8 * entries.length);
  const dv = new DataView(wire.buffer);
  dv.setUint32(0, WIRE_VERSION, true);
  for (const [i, { tag, perm, id }] of entries.entries()) {
    dv.setUint16(4 + 8 * i, tag, true);
    dv.setUint16(6 + 8 * i, perm, true);
    dv.setUint32(8 + 8 * i, id, true);
  }
  return wire;
}
