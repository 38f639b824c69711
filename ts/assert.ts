// A broken assertion is a bug of this library, never of the image or the caller: it is not an Ext4Error
// and no floor turns it into one. Lies under every floor.

export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws when `ok` is false. The message is a constant, so that the hot path builds no string. */
export function assert(ok: boolean, message: string): asserts ok {
  if (!ok) throw new AssertionError(message);
}
