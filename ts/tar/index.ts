// The tar codec: members to a stream of bytes. It knows no file system and no platform.

export { aclText } from './acl.ts';
export type { TarEntry, TarSegment, TarTime, TarType } from './header.ts';
export { encodeHeader, TAR_BLOCK } from './header.ts';
export { pack, type TarMember } from './pack.ts';
