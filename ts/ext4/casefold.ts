// Names that differ only in case: the form under which a casefold directory compares and hashes them. It is Unicode's
// full case folding over canonical decomposition, without default-ignorable code points, of Unicode 12.1: the only
// version that ext4 has. The platform's tables are newer; what came after 12.1 stays as it is.

/** Code points that have a case, a decomposition or a combining class only since Unicode 13 (to 17): found by
 *  comparing all of Unicode with the hashes of e2fsprogs. */
const LATER =
  '\\u0897-\\u089f\\u08ca-\\u08d2\\u0c3c\\u1715\\u180f\\u1abf-\\u1add\\u1ae0-\\u1aeb' +
  '\\u1c89\\u1dfa\\u2c2f\\ua7c0\\ua7c7\\ua7c9\\ua7cb\\ua7cc\\ua7ce\\ua7d0\\ua7d2\\ua7d4' +
  '\\ua7d6\\ua7d8\\ua7da\\ua7dc\\ua7f5\\ua82c\\u{10570}-\\u{1057a}\\u{1057c}-\\u{1058a}' +
  '\\u{1058c}-\\u{10592}\\u{10594}\\u{10595}\\u{105c9}\\u{105e4}\\u{10d50}-\\u{10d65}' +
  '\\u{10d69}-\\u{10d6d}\\u{10eab}\\u{10eac}\\u{10efa}\\u{10efb}\\u{10efd}-\\u{10eff}' +
  '\\u{10f82}-\\u{10f85}\\u{11070}\\u{11383}\\u{11385}\\u{1138e}\\u{11391}\\u{113c5}' +
  '\\u{113c7}\\u{113c8}\\u{113ce}-\\u{113d0}\\u{11938}\\u{1193d}\\u{1193e}\\u{11943}' +
  '\\u{11f41}\\u{11f42}\\u{16121}-\\u{16128}\\u{1612f}\\u{16d68}-\\u{16d6a}' +
  '\\u{16ea0}-\\u{16eb8}\\u{16ff0}\\u{16ff1}\\u{1e08f}\\u{1e2ae}\\u{1e4ec}-\\u{1e4ef}' +
  '\\u{1e5ee}\\u{1e5ef}\\u{1e6e3}\\u{1e6e6}\\u{1e6ee}\\u{1e6ef}\\u{1e6f5}';
/** What marks are not ordered across: the later ones, which stay, and the ignorable ones, which go. */
const STOPPERS = new RegExp(`([${LATER}])|\\p{Default_Ignorable_Code_Point}`, 'u');

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();

/** The folded form of a name: equal for names that are one name to a casefold directory. A name that is not UTF-8
 *  is its own. */
export function foldName(name: Uint8Array): Uint8Array {
  return foldAscii(name) ?? foldText(name) ?? name;
}

/** As foldName(), as a text; names that are not UTF-8 begin with a NUL. */
export function foldedKey(name: Uint8Array): string {
  const text = textOf(name);
  return text === null ? `\0${String.fromCharCode(...name)}` : folded(text);
}

/** Whether a strict directory takes a name: it is UTF-8. */
export function isText(name: Uint8Array): boolean {
  return textOf(name) !== null;
}

/** Whether the name in [at, at + len) has this folded form. */
export function foldsTo(u8: Uint8Array, at: number, len: number, form: Uint8Array): boolean {
  let alike = true;
  for (let i = 0; i < len; i++) {
    const byte = u8[at + i];
    if (byte >= 0x80) return equal(foldName(u8.slice(at, at + len)), form);
    // A name that is no text has its capitals: the rest is looked at all the same.
    if (lower(byte) !== form[i]) alike = false;
  }
  return alike && len === form.length;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

function foldAscii(name: Uint8Array): Uint8Array | null {
  const form = new Uint8Array(name.length);
  for (let i = 0; i < name.length; i++) {
    if (name[i] >= 0x80) return null;
    form[i] = lower(name[i]);
  }
  return form;
}

function foldText(name: Uint8Array): Uint8Array | null {
  const text = textOf(name);
  return text === null ? null : encoder.encode(folded(text));
}

/** A name's text; null when it is not UTF-8: when its bytes do not come back. */
function textOf(name: Uint8Array): string | null {
  const text = decoder.decode(name);
  if (!text.includes('\ufffd')) return text;
  return equal(encoder.encode(text), name) ? text : null;
}

/** Between stoppers each code point is decomposed, folded, and then marks get their order. */
function folded(text: string): string {
  let form = '';
  for (const part of text.split(STOPPERS)) {
    if (part === undefined || part === '') continue;
    form += STOPPERS.test(part) ? part : foldRun(part);
  }
  return form;
}

function foldRun(run: string): string {
  const parts = Array.from(run, (char) => Array.from(char.normalize('NFD'), fold).join(''));
  return parts.join('').normalize('NFD');
}

/** Full case folding of one code point: Cherokee folds up, the dotless i not at all, all others down. */
function fold(char: string): string {
  const code = char.codePointAt(0) as number;
  if (code === 0x131) return char;
  if ((code >= 0x13f8 && code <= 0x13fd) || (code >= 0xab70 && code <= 0xabbf))
    return char.toUpperCase();
  if (code >= 0x13a0 && code <= 0x13f5) return char;
  return char.toLowerCase().toUpperCase().toLowerCase();
}
