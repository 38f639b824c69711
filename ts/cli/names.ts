// File names are bytes, terminals and JSON want text. A name that is not UTF-8 becomes a string in which each wrong
// byte is a lone surrogate U+DC80…U+DCFF, and such a string becomes the same bytes again (Python's
// "surrogateescape"; JSON writes it as \udcXX). `shown` makes a name harmless to look at.

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The name as a string, reversible. */
export function decodeName(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return decodePieces(bytes);
  }
}

function decodePieces(bytes: Uint8Array): string {
  let text = '';
  let off = 0;
  while (off < bytes.length) {
    const len = sequenceLength(bytes, off);
    if (len === 0) text += String.fromCharCode(0xdc00 + bytes[off]);
    else text += strict.decode(bytes.subarray(off, off + len));
    off += len || 1;
  }
  return text;
}

/** Bytes of the UTF-8 sequence at `off`, 0 when there is none. */
function sequenceLength(bytes: Uint8Array, off: number): number {
  const lead = bytes[off];
  const len = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  try {
    strict.decode(bytes.subarray(off, off + len));
    return off + len <= bytes.length ? len : 0;
  } catch {
    return 0;
  }
}

/** The bytes of a name, or of any text that holds names. */
export function encodeName(text: string): Uint8Array {
  if (!/\p{Surrogate}/u.test(text)) return Buffer.from(text, 'utf8');
  const pieces = text.split(/(\p{Surrogate})/u).map((piece) => {
    const code = piece.charCodeAt(0);
    const lone = piece.length === 1 && code >= 0xdc80 && code <= 0xdcff;
    return lone ? Buffer.from([code - 0xdc00]) : Buffer.from(piece, 'utf8');
  });
  return Buffer.concat(pieces);
}

const SHORT: Record<string, string> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

// Control characters, marks that turn the writing direction, and bytes that are no text.
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

/** The name with everything that could move a terminal's cursor written as an escape: `\n`, `\x1b`, `\u202e`. */
export function shown(name: string): string {
  return name.replace(UNSAFE, (char) => {
    const code = char.charCodeAt(0);
    if (SHORT[char]) return SHORT[char];
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

// East Asian wide characters and pictures take two columns of a terminal.
const WIDE = new RegExp(
  String.raw`[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f]` +
    String.raw`|[\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}`,
  'gu',
);
const NONE = /\p{Mn}|\p{Me}|\u200b|\u200d/gu;

/** Columns that a text takes on a terminal. */
export function width(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: plain ASCII is the quick case
  if (/^[\x00-\x7f]*$/.test(text)) return text.length;
  const chars = [...text].length;
  return chars + (text.match(WIDE)?.length ?? 0) - (text.match(NONE)?.length ?? 0);
}

export function padEnd(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - width(text)));
}

/** Joins a directory and a name; the root gets no second slash. */
export function join(dir: string, name: string): string {
  return dir.endsWith('/') ? dir + name : `${dir}/${name}`;
}
