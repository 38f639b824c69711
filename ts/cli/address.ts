// Addresses: IMAGE[:PARTITION]:/path, or IMAGE[:PARTITION] where a command takes a whole image. The partition is a
// number or a label. An image may be an http(s) URL, and may hold colons when the file exists: the longest name of
// an existing file wins. On Windows `C:\` and `C:/` are drives.

import { existsSync } from 'node:fs';

export interface Address {
  /** As it was written: what is printed can be used again. */
  text: string;
  image: string;
  partition?: string;
  /** Path in the file system, from its root; undefined when none was given. */
  path?: string;
}

export interface AddressContext {
  exists(path: string): boolean;
  windows: boolean;
}

const HERE: AddressContext = {
  exists: (path) => existsSync(path),
  windows: process.platform === 'win32',
};

const URL_ADDRESS = /^(https?:\/\/[^/]+\/.*?)(?::([^:/]*))?(?::(\/.*))?$/is;

export const isUrl = (image: string): boolean => /^https?:\/\//i.test(image);

/** Reads an address; every text is one, whether its image exists is found out when it is opened. */
export function parseAddress(text: string, context: AddressContext = HERE): Address {
  if (isUrl(text)) {
    const [, image, partition, path] = URL_ADDRESS.exec(text) ?? ['', text];
    return { text, image, partition: partition || undefined, path };
  }
  const ways = splits(text, context);
  return ways.find((way) => context.exists(way.image)) ?? ways[ways.length - 1];
}

/** Whether the text names something inside an image: `-` and paths that exist here do not. */
export function isAddress(text: string, context: AddressContext = HERE): boolean {
  if (text === '-') return false;
  const address = parseAddress(text, context);
  return address.path !== undefined && !context.exists(text);
}

/** The address of what lies below an operand, `path` being the operand's own path in the image. */
export function childAddress(text: string, path: string, below: string): string {
  return (text.endsWith(path) ? text.slice(0, text.length - path.length) : `${text}:`) + below;
}

/** Every way to read the text, the longest image first. */
function splits(text: string, { windows }: AddressContext): Address[] {
  const drive = windows && /^[a-z]:[\\/]/i.test(text) ? 2 : 0;
  const ways: Address[] = [{ text, image: text }];
  for (let at = text.length - 1; at > drive; at--) {
    if (text[at] !== ':') continue;
    const image = text.slice(0, at);
    const rest = text.slice(at + 1);
    const [, partition, path] = /^(?:([^:/]+)(?::(\/.*))?|(\/.*))$/s.exec(rest) ?? [];
    if (rest.startsWith('/')) ways.push({ text, image, path: rest });
    else if (partition !== undefined) ways.push({ text, image, partition, path });
  }
  return ways;
}
