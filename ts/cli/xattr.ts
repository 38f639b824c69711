// `ext4 xattr`: extended attributes of a file: their names, the bytes of one, or all as getfattr dumps them.

import type { Ext4 } from '../index.ts';
import { aclText } from '../tar/acl.ts';
import { type Call, type Command, JSON_LINES } from './args.ts';
import { UsageError } from './errors.ts';
import { decodeName, shown } from './names.ts';
import { bytesOf } from './tree.ts';
import { changeEach, eachFile, type Operand } from './volume.ts';

export const xattr: Command = {
  usage: 'xattr [-dL] [-s VALUE | -x] ADDR [NAME]',
  about: `Lists the extended attributes of a file. With a NAME (user.note) writes the bytes of
that one. With -d prints all as getfattr does: text in quotes, other bytes as 0x…, and
ACLs in words. With -s gives NAME a value, with -x takes it away: these write to the image.`,
  options: [
    { name: 'dump', short: 'd', help: 'names with values' },
    { name: 'dereference', short: 'L', help: 'follow a symbolic link' },
    { name: 'set', short: 's', value: 'VALUE', help: 'text, 0xHEX or 0sBASE64' },
    { name: 'remove', short: 'x', help: 'remove NAME' },
    JSON_LINES,
  ],
  examples: [
    'ext4 xattr -d disk.img:/usr/bin/ping',
    'ext4 xattr disk.img:/usr/bin/ping security.capability | xxd',
  ],
  async run(call) {
    const [address, name] = call.expect(1, 2);
    if (call.has('set') || call.has('remove')) return changeAttribute(call, address, name);
    await eachFile(call, [address], async ({ img, path, text }) => {
      if (name !== undefined) return call.io.out.bytes(await attributeOf(call, img, path, name));
      await list(call, img, path, text);
    });
    return undefined;
  },
};

async function changeAttribute(
  call: Call,
  address: string,
  name: string | undefined,
): Promise<undefined> {
  if (call.has('set') && call.has('remove')) throw new UsageError('-s and -x exclude each other');
  if (name === undefined) throw new UsageError('the NAME of an attribute is missing');
  const text = call.value('set');
  const value = text === undefined ? null : parseValue(text);
  await changeEach(call, [address], (operand) => putAttribute(call, operand, name, value));
  return undefined;
}

/** Sets an attribute, or (null) removes it. */
async function putAttribute(
  call: Call,
  { img, path }: Operand,
  name: string,
  value: Uint8Array | null,
): Promise<void> {
  const { setxattr, lsetxattr, removexattr, lremovexattr } = img.promises;
  const follow = call.has('dereference');
  const at = bytesOf(path);
  const key = bytesOf(name);
  if (value === null) await (follow ? removexattr : lremovexattr)(at, key);
  else await (follow ? setxattr : lsetxattr)(at, key, value);
}

/** Bytes of a value as setfattr takes it: 0x and hex digits, 0s and base64, else text. */
function parseValue(text: string): Uint8Array {
  if (/^0x([0-9a-f]{2})*$/i.test(text)) return Buffer.from(text.slice(2), 'hex');
  if (/^0s[a-z0-9+/]*={0,2}$/i.test(text)) return Buffer.from(text.slice(2), 'base64');
  if (/^0x/i.test(text)) throw new UsageError(`'${text}' is not in hex digits`);
  return bytesOf(text);
}

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
