// UUIDs as text and bytes, and random bytes from the platform.

import { Ext4Error } from '../errno.ts';

/** The 16 bytes of a UUID as text. EINVAL when it is none. */
export function parseUuid(text: string, what: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text) || hex.length !== 32) {
    throw new Ext4Error('EINVAL', `the ${what} '${text}' is no UUID`);
  }
  return Uint8Array.from({ length: 16 }, (_, i) =>
    Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16),
  );
}

export function uuidText(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

export function randomBytes(count: number): Uint8Array {
  return globalThis.crypto.getRandomValues(new Uint8Array(count));
}
