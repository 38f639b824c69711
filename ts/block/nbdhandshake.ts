// The beginning of an NBD connection: fixed newstyle greeting, then the option that opens an export (GO, or EXPORT_NAME
// for servers that do not know it). All numbers are big-endian. What the server says is checked before it is used.

import { Ext4Error } from '../errno.ts';
import type { Intake } from './intake.ts';

export interface Export {
  /** Bytes. */
  size: number;
  blockSize: number;
  /** Bytes of data in one request at most; whole blocks. */
  maxBytes: number;
  readOnly: boolean;
  canFlush: boolean;
  canFua: boolean;
  canTrim: boolean;
}

interface Sender {
  write(bytes: Uint8Array): unknown;
}

const NBDMAGIC = 0x4e42444d41474943n;
const IHAVEOPT = 0x49484156454f5054n;
const OPTION_REPLY = 0x3e889045565a9n;
const FLAG_FIXED_NEWSTYLE = 1;
const FLAG_NO_ZEROES = 2;
const OPT_EXPORT_NAME = 1;
const OPT_GO = 7;
const REP_ACK = 1;
const REP_INFO = 3;
const REP_ERR_UNSUP = 0x80000001;
const REP_ERR_POLICY = 0x80000002;
const REP_ERR_TLS_REQD = 0x80000005;
const REP_ERR_UNKNOWN = 0x80000006;
const INFO_EXPORT = 0;
const INFO_BLOCK_SIZE = 3;
const READ_ONLY = 2;
const SEND_FLUSH = 4;
const SEND_FUA = 8;
const SEND_TRIM = 32;

const MAX_REPLIES = 64; // to one option
const MAX_REPLY_BYTES = 65536;
const MAX_BYTES = 4 << 20; // ours; servers must take 32 MiB unless they say less

/** Speaks until the export is open. Throws an Ext4Error when the server does not open it. */
export async function negotiate(out: Sender, intake: Intake, name: string): Promise<Export> {
  const greeting = await intake.bytes(18);
  if (greeting.getBigUint64(0) !== NBDMAGIC) throw new Ext4Error('ENOTSUP', 'not an NBD server');
  const flags = greeting.getUint16(16);
  if (greeting.getBigUint64(8) !== IHAVEOPT || (flags & FLAG_FIXED_NEWSTYLE) === 0) {
    throw new Ext4Error('ENOTSUP', 'the NBD server does not speak fixed newstyle');
  }
  const answer = new DataView(new ArrayBuffer(4));
  answer.setUint32(0, flags & (FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES));
  out.write(new Uint8Array(answer.buffer));
  const found = await go(out, intake, name);
  return found ?? exportName(out, intake, name, (flags & FLAG_NO_ZEROES) !== 0);
}

function sendOption(out: Sender, option: number, data: Uint8Array): void {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, IHAVEOPT);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, 16);
  out.write(bytes);
}

/** The export by option GO, or null when the server does not know the option. */
async function go(out: Sender, intake: Intake, name: string): Promise<Export | null> {
  const text = new TextEncoder().encode(name);
  const data = new Uint8Array(4 + text.length + 4);
  const view = new DataView(data.buffer);
  view.setUint32(0, text.length);
  data.set(text, 4);
  view.setUint16(4 + text.length, 1); // one thing we want to know:
  view.setUint16(6 + text.length, INFO_BLOCK_SIZE);
  sendOption(out, OPT_GO, data);
  const info: { size?: number; flags: number; min: number; max: number } = {
    flags: 0,
    min: 1,
    max: MAX_BYTES,
  };
  for (let replies = 0; replies < MAX_REPLIES; replies++) {
    const { type, data: reply } = await optionReply(intake, OPT_GO);
    if (type === REP_ERR_UNSUP) return null;
    if (type === REP_ACK) return makeExport(info);
    if (type !== REP_INFO) throw refusal(type, name, reply);
    const kind = reply.byteLength >= 2 ? reply.getUint16(0) : -1;
    if (kind === INFO_EXPORT && reply.byteLength >= 12) {
      info.size = safeSize(reply, 2);
      info.flags = reply.getUint16(10);
    } else if (kind === INFO_BLOCK_SIZE && reply.byteLength >= 14) {
      info.min = reply.getUint32(2);
      info.max = reply.getUint32(10);
    }
  }
  throw new Ext4Error('EIO', 'the NBD server does not come to an end');
}

async function optionReply(
  intake: Intake,
  option: number,
): Promise<{ type: number; data: DataView }> {
  const header = await intake.bytes(20);
  const len = header.getUint32(16);
  const good = header.getBigUint64(0) === OPTION_REPLY && header.getUint32(8) === option;
  if (!good || len > MAX_REPLY_BYTES) throw new Ext4Error('EIO', 'a bad reply to an NBD option');
  return { type: header.getUint32(12), data: await intake.bytes(len) };
}

function refusal(type: number, name: string, reply: DataView): Ext4Error {
  const said = new TextDecoder().decode(reply);
  const what = `NBD export '${name}'${said ? `: ${said}` : ''}`;
  if (type === REP_ERR_UNKNOWN) return new Ext4Error('ENOENT', what);
  if (type === REP_ERR_TLS_REQD) return new Ext4Error('EACCES', `${what}: TLS is required`);
  if (type === REP_ERR_POLICY) return new Ext4Error('EACCES', what);
  return new Ext4Error('EIO', `${what}: refused with ${type.toString(16)}`);
}

/** The old way: a server that does not have the export hangs up. */
async function exportName(
  out: Sender,
  intake: Intake,
  name: string,
  noZeroes: boolean,
): Promise<Export> {
  sendOption(out, OPT_EXPORT_NAME, new TextEncoder().encode(name));
  const reply = await intake.bytes(noZeroes ? 10 : 134);
  return makeExport({
    size: safeSize(reply, 0),
    flags: reply.getUint16(8),
    min: 1,
    max: MAX_BYTES,
  });
}

function makeExport(info: { size?: number; flags: number; min: number; max: number }): Export {
  const { size, flags, min, max } = info;
  const blockSize = Math.max(512, min);
  if (size === undefined) throw new Ext4Error('EIO', 'the NBD server does not tell the size');
  if ((blockSize & (blockSize - 1)) !== 0 || blockSize > 65536 || max < blockSize) {
    throw new Ext4Error('EIO', `NBD block sizes ${min} to ${max}`);
  }
  return {
    size,
    blockSize,
    maxBytes: Math.min(MAX_BYTES, max - (max % blockSize)),
    readOnly: (flags & READ_ONLY) !== 0,
    canFlush: (flags & SEND_FLUSH) !== 0,
    canFua: (flags & SEND_FUA) !== 0,
    canTrim: (flags & SEND_TRIM) !== 0,
  };
}

function safeSize(view: DataView, at: number): number {
  const size = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  if (Number.isSafeInteger(size)) return size;
  throw new Ext4Error('EIO', `an NBD export of ${size} bytes`);
}
