// Packs members into a tar stream, one after the other, holding nothing but the current chunk. A chunk that a
// member's data yields is handed on as it is: it must not change before the next one is asked for.

import { encodeHeader, padding, sparseMap, storedSize, type TarEntry } from './header.ts';

export interface TarMember {
  entry: TarEntry;
  /** The bytes of the file, or of its segments one after the other. Only for `file`. */
  data?: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Tar readers take this many bytes at once; an archive ends on a multiple of it. */
const RECORD = 20 * 512;

/** The bytes of the archive. Throws what a member's data throws, and when it has another length than was said. */
export async function* pack(
  members: AsyncIterable<TarMember> | Iterable<TarMember>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let total = 0;
  for await (const member of members) {
    for await (const chunk of packMember(member)) {
      total += chunk.length;
      yield chunk;
    }
  }
  const end = total + 1024;
  yield new Uint8Array(1024 + ((RECORD - (end % RECORD)) % RECORD));
}

async function* packMember({ entry, data }: TarMember): AsyncGenerator<Uint8Array> {
  yield encodeHeader(entry);
  const size = storedSize(entry);
  if (size === 0) return;
  const map = sparseMap(entry);
  if (map.length > 0) yield map;
  let done = map.length;
  for await (const chunk of data ?? []) {
    done += chunk.length;
    if (done > size) break;
    if (chunk.length > 0) yield chunk;
  }
  if (done !== size) {
    throw new Error(`tar member has ${done > size ? 'more' : 'less'} than its ${size} bytes`);
  }
  const rest = padding(size);
  if (rest > 0) yield new Uint8Array(rest);
}
