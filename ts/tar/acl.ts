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

const NUMBERS: Record<string, [tag: number, named: number]> = {
  user: [1, 2],
  u: [1, 2],
  group: [4, 8],
  g: [4, 8],
  mask: [16, 16],
  m: [16, 16],
  other: [32, 32],
  o: [32, 32],
};
const NO_ID = 0xffffffff;

/** The xattr's bytes of a text as aclText() writes it, with libarchive's id as a fourth field, or in lines as acl(5)
 *  has it. Undefined when it is none, or names somebody without an id. */
export function aclValue(text: string): Uint8Array | undefined {
  const lines = text.split(/[,\n]/).map((line) => line.replace(/#.*/, '').trim());
  const entries: number[][] = [];
  for (const line of lines.filter(Boolean)) {
    const [kind, who, perm, id] = line.split(':').map((part) => part.trim());
    const tags = NUMBERS[kind];
    const bits = perm === undefined ? -1 : bitsOf(perm);
    const number = who === '' ? NO_ID : numberOf(id ?? who);
    if (tags === undefined || bits < 0 || number === undefined) return undefined;
    entries.push([tags[who === '' ? 0 : 1], bits, number]);
  }
  return encode(entries.sort(([a, , x], [b, , y]) => a - b || x - y));
}

function numberOf(text: string): number | undefined {
  return /^[0-9]{1,10}$/.test(text) && Number(text) < NO_ID ? Number(text) : undefined;
}

/** r, w and x in any order, anything missing as "-"; -1 for what is something else. */
function bitsOf(perm: string): number {
  if (!/^[rwx-]{1,3}$/.test(perm)) return -1;
  return (perm.includes('r') ? 4 : 0) + (perm.includes('w') ? 2 : 0) + (perm.includes('x') ? 1 : 0);
}

function encode(entries: number[][]): Uint8Array {
  const value = new Uint8Array(4 + 8 * entries.length);
  const view = new DataView(value.buffer);
  view.setUint32(0, 2, true);
  for (const [i, [tag, perm, id]] of entries.entries()) {
    view.setUint16(4 + 8 * i, tag, true);
    view.setUint16(6 + 8 * i, perm, true);
    view.setUint32(8 + 8 * i, id, true);
  }
  return value;
}

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
