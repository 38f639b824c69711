// The tar codec: members to a stream of bytes, and back. It knows no file system and no platform.

export { aclText, aclValue } from './acl.ts';
export type { TarEntry, TarSegment, TarTime, TarType } from './header.ts';
export { encodeHeader, TAR_BLOCK } from './header.ts';
export { pack, type TarMember } from './pack.ts';
export { TarError } from './source.ts';
export { type TarItem, type TarPiece, unpack } from './unpack.ts';
