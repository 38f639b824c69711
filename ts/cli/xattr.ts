// `ext4 xattr`: extended attributes of a file: their names, the bytes of one, or all as getfattr dumps them.

import type { Ext4 } from '../index.ts';
import { aclText } from '../tar/acl.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { decodeName, shown } from './names.ts';
import { bytesOf } from './tree.ts';
import { eachFile } from './volume.ts';

export const xattr: Command = {
  usage: 'xattr [-dL] ADDR [NAME]',
  about: `Lists the extended attributes of a file. With a NAME (user.note) writes the bytes of
that one. With -d prints all as getfattr does: text in quotes, other bytes as 0x…, and
ACLs in words.`,
  options: [
    { name: 'dump', short: 'd', help: 'names with values' },
    { name: 'dereference', short: 'L', help: 'follow a symbolic link' },
    JSON_LINES,
  ],
  examples: [
    'ext4 xattr -d disk.img:/usr/bin/ping',
    'ext4 xattr disk.img:/usr/bin/ping security.capability | xxd',
  ],
  async run(call) {
    const [address, name] = call.expect(1, 2);
    await eachFile(call, [address], async ({ img, path, text }) => {
      if (name !== undefined) return call.io.out.bytes(await attributeOf(call, img, path, name));
      await list(call, img, path, text);
    });
    return undefined;
  },
};

export interface Attribute {
  name: string;
  value: Uint8Array;
}

/** All attributes of a file, of a symlink itself, in the order of their names. */
export async function attributesOf(img: Ext4, path: string): Promise<Attribute[]> {
  const at = bytesOf(path);
  const names = await attributeNames(img, path, false);
  const list: Attribute[] = [];
  for (const name of names) {
    list.push({ name, value: await img.promises.lgetxattr(at, bytesOf(name)) });
  }
  return list;
}

type List = (path: Uint8Array, options: { encoding: 'buffer' }) => Promise<Uint8Array[]>;

/** The names of all attributes, in order. They are bytes, as file names are. */
export async function attributeNames(img: Ext4, path: string, follow: boolean): Promise<string[]> {
  const { listxattr, llistxattr } = img.promises;
  const list = (follow ? listxattr : llistxattr) as unknown as List;
  return (await list(bytesOf(path), { encoding: 'buffer' })).map(decodeName).sort();
}

function attributeOf(call: Call, img: Ext4, path: string, name: string): Promise<Uint8Array> {
  const at = bytesOf(path);
  return call.has('dereference')
    ? img.promises.getxattr(at, bytesOf(name))
    : img.promises.lgetxattr(at, bytesOf(name));
}

async function list(call: Call, img: Ext4, path: string, text: string): Promise<void> {
  const { out } = call.io;
  const names = await attributeNames(img, path, call.has('dereference'));
  const values = call.has('dump') || call.has('json');
  if (call.has('dump') && !call.has('json') && names.length > 0) {
    await out.line(`# file: ${out.isTTY ? shown(text) : text}`);
  }
  for (const name of names) {
    if (!values) await out.line(out.isTTY ? shown(name) : name);
    else await printValue(call, name, await attributeOf(call, img, path, name));
  }
}

async function printValue(call: Call, name: string, value: Uint8Array): Promise<void> {
  const { out } = call.io;
  const acl = name.startsWith('system.posix_acl_') ? aclText(value) : undefined;
  if (call.has('json')) {
    const hex = Buffer.from(value).toString('hex');
    const text = isText(value) ? { text: decodeName(value) } : {};
    await out.line(JSON.stringify({ name, size: value.length, hex, ...text, ...(acl && { acl }) }));
    return;
  }
  const label = out.isTTY ? shown(name) : name;
  if (acl !== undefined) await out.line(`# ${label}: ${acl}`);
  await out.line(`${label}=${encodeValue(value)}`);
}

/** Printable ASCII, and a zero at the end, which many attributes have. */
function isText(value: Uint8Array): boolean {
  return value.every(
    (byte, i) => (byte >= 0x20 && byte < 0x7f) || (byte === 0 && i === value.length - 1 && i > 0),
  );
}

function encodeValue(value: Uint8Array): string {
  if (value.length === 0) return '""';
  if (!isText(value)) return `0x${Buffer.from(value).toString('hex')}`;
  const text = Buffer.from(value)
    .toString('latin1')
    .replace(/[\\"]/g, '\\$&')
    .replace('\0', '\\000');
  return `"${text}"`;
}
