// POSIX ACLs: ext4 keeps them in a short form of its own; xattrs of the name system.posix_acl_* show the form that
// acl(5) tools read: version 2, entries of tag, permissions and id.

import { corrupt, Ext4Error } from '../errno.ts';

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

export interface AclEntry {
  tag: number;
  perm: number;
  /** User or group of a named entry. */
  id: number;
}

const USER_OBJ = 0x01;
const GROUP_OBJ = 0x04;
const MASK = 0x10;
const OTHER = 0x20;

/** The entries of the wire form. EINVAL, EOPNOTSUPP; what they say together is isValidAcl()'s. */
export function aclFromWire(wire: Uint8Array): AclEntry[] {
  const dv = new DataView(wire.buffer, wire.byteOffset, wire.byteLength);
  const bad = () => new Ext4Error('EINVAL', 'not a valid ACL');
  if (wire.length === 0) return [];
  if (wire.length < 4) throw bad();
  if (dv.getUint32(0, true) !== WIRE_VERSION) throw new Ext4Error('EOPNOTSUPP', 'ACL version');
  if ((wire.length - 4) % 8 !== 0) throw bad();
  const acl: AclEntry[] = [];
  for (let at = 4; at < wire.length; at += 8) {
    const entry = {
      tag: dv.getUint16(at, true),
      perm: dv.getUint16(at + 2, true),
      id: dv.getUint32(at + 4, true),
    };
    if (!TAGS.includes(entry.tag) || (isNamed(entry) && entry.id === NO_ID)) throw bad();
    acl.push(entry);
  }
  return acl;
}

/** One owner, group and others; a mask when someone is named; entries in the order of their tags; no unknown
 *  permission. */
export function isValidAcl(acl: AclEntry[]): boolean {
  const count = (tag: number) => acl.filter((e) => e.tag === tag).length;
  const named = count(ACL_USER) + count(ACL_GROUP) > 0;
  const ordered = acl.every((e, i) => i === 0 || acl[i - 1].tag <= e.tag);
  if (acl.some((e) => e.perm > 7)) return false;
  const once = count(USER_OBJ) === 1 && count(GROUP_OBJ) === 1 && count(OTHER) === 1;
  return once && ordered && count(MASK) <= 1 && (!named || count(MASK) === 1);
}

/** The form on disk. */
export function aclToDisk(acl: AclEntry[]): Uint8Array {
  const size = acl.reduce((sum, e) => sum + (isNamed(e) ? 8 : 4), 4);
  const disk = new Uint8Array(size);
  const dv = new DataView(disk.buffer);
  dv.setUint32(0, DISK_VERSION, true);
  let at = 4;
  for (const e of acl) {
    dv.setUint16(at, e.tag, true);
    dv.setUint16(at + 2, e.perm, true);
    if (isNamed(e)) dv.setUint32(at + 4, e.id, true);
    at += isNamed(e) ? 8 : 4;
  }
  return disk;
}

function isNamed(e: AclEntry): boolean {
  return e.tag === ACL_USER || e.tag === ACL_GROUP;
}

/** The entries of the form on disk. EUCLEAN. */
export function diskAcl(disk: Uint8Array, ino: number): AclEntry[] {
  const wire = aclToWire(disk, ino);
  const dv = new DataView(wire.buffer);
  const acl: AclEntry[] = [];
  for (let at = 4; at < wire.length; at += 8) {
    const id = dv.getUint32(at + 4, true);
    acl.push({ tag: dv.getUint16(at, true), perm: dv.getUint16(at + 2, true), id });
  }
  return acl;
}

/** The permission bits that an ACL stands for; `plain` when it says nothing else. */
export function modeOf(acl: AclEntry[]): { mode: number; plain: boolean } {
  const perm = (tag: number) => acl.find((e) => e.tag === tag)?.perm;
  const group = perm(MASK) ?? perm(GROUP_OBJ) ?? 0;
  const mode = (perm(USER_OBJ) ?? 0) * 64 + group * 8 + (perm(OTHER) ?? 0);
  return { mode, plain: acl.every((e) => !isNamed(e) && e.tag !== MASK) };
}

/** An ACL with the permissions of a mode: owner, mask (or group), others. */
export function withMode(acl: AclEntry[], mode: number): AclEntry[] {
  const hasMask = acl.some((e) => e.tag === MASK);
  const groupTag = hasMask ? MASK : GROUP_OBJ;
  const bits: Record<number, number> = {
    [USER_OBJ]: (mode >> 6) & 7,
    [groupTag]: (mode >> 3) & 7,
    [OTHER]: mode & 7,
  };
  return acl.map((e) => ({ ...e, perm: bits[e.tag] ?? e.perm }));
}

/** A default ACL as the access ACL of what is made with `mode`: no more than both allow. */
export function maskedAcl(acl: AclEntry[], mode: number): AclEntry[] {
  const both = withMode(acl, mode);
  return acl.map((e, i) => ({
    ...e,
    perm: both[i].perm === e.perm ? e.perm : e.perm & both[i].perm,
  }));
}
