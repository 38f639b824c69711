// Encrypted names without the key. They are shown as the kernel shows them, so that files can be told apart, listed
// and (later) removed: base64url of the name's hash, its first 149 encrypted bytes, and a SHA-256 of the rest.
// Source: kernel documentation, "Filesystem-level encryption", access semantics without the key.

import { ABI_NAME, ABI_RESULT, ABI_SEED } from '../../assembly/abi.ts';
import * as F from '../../assembly/format/ext4.ts';
import { hasBit } from './features.ts';
import { hashKind } from './htree.ts';
import type { Inode } from './inode.ts';
import { sha256 } from './sha256.ts';

/** Encrypted bytes shown as they are. */
const SHOWN = 149;
/** Characters shown for a name that was cut: 8 + 149 + 32 bytes in base64. */
export const NOKEY_CUT = 252;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** The name shown for the encrypted bytes of an entry of `dir`. */
export function nokeyName(dir: Inode, bytes: Uint8Array): Uint8Array {
  return encode(indexable(dir) ? hashes(dir, bytes) : new Uint8Array(8), bytes);
}

/** The target shown for an encrypted symlink whose record is `record`: a 16-bit length and the bytes; null when it
 *  breaks that form. */
export function nokeyTarget(record: Uint8Array): Uint8Array | null {
  const len = record.length < 2 ? 0 : record[0] + 256 * record[1];
  if (len === 0 || len + 2 > record.length) return null;
  return encode(new Uint8Array(8), record.subarray(2, 2 + len));
}

/** The encrypted bytes a shown name stands for, or null when they are cut or it is not one. */
export function nokeyBytes(shown: Uint8Array): Uint8Array | null {
  const raw = decode(shown);
  return raw === null || raw.length <= 8 || raw.length > 8 + SHOWN ? null : raw.subarray(8);
}

function encode(hash: Uint8Array, bytes: Uint8Array): Uint8Array {
  const rest = bytes.subarray(SHOWN);
  const parts = [hash, bytes.subarray(0, SHOWN), rest.length > 0 ? sha256(rest) : rest];
  return base64url(Uint8Array.from(parts.flatMap((part) => [...part])));
}

/** The kernel hashes the names of directories that have or could have an index; others show zeroes. */
function indexable(dir: Inode): boolean {
  const { sb } = dir.vol;
  if (!hasBit(sb.compat, F.COMPAT_DIR_INDEX)) return false;
  return dir.has(F.EXT4_INDEX_FL) || dir.path === 'inline' || dir.size === sb.blockSize;
}

function hashes(dir: Inode, bytes: Uint8Array): Uint8Array {
  const { kernels } = dir.vol.cache;
  const { sb } = dir.vol;
  const version = sb.u8(F.S_DEF_HASH_VERSION);
  kernels.u8.set(bytes, ABI_NAME);
  if (
    kernels.exports.dirHash(hashKind(dir, version), ABI_NAME, bytes.length, ABI_SEED, ABI_RESULT) <
    0
  ) {
    return new Uint8Array(8);
  }
  return kernels.u8.slice(ABI_RESULT, ABI_RESULT + 8);
}

function base64url(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (let at = 0; at < bytes.length; at += 3) {
    const left = Math.min(3, bytes.length - at);
    const bits = bytes[at] * 65536 + (bytes[at + 1] ?? 0) * 256 + (bytes[at + 2] ?? 0);
    for (let i = 0; i <= left; i++) out.push(ALPHABET.charCodeAt((bits >>> (18 - 6 * i)) & 63));
  }
  return Uint8Array.from(out);
}

function decode(text: Uint8Array): Uint8Array | null {
  const out: number[] = [];
  let bits = 0;
  let count = 0;
  for (const char of text) {
    const value = ALPHABET.indexOf(String.fromCharCode(char));
    if (value < 0) return null;
    bits = (bits * 64 + value) % 2 ** 14;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push((bits >>> count) & 255);
  }
  return Uint8Array.from(out);
}
