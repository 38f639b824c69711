// Names that differ only in case: the form under which a casefold directory compares them. It follows Unicode's
// full case folding over canonical decomposition, without default-ignorable code points, through the platform's
// tables.

const IGNORABLE = /\p{Default_Ignorable_Code_Point}/gu;

/** A key that is equal for names equal under folding. A name that is not UTF-8 is its own key. */
export function foldedKey(name: Uint8Array): string {
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(name);
  if (text.includes('\ufffd') && !isUtf8(name, text)) return `\0${String.fromCharCode(...name)}`;
  const plain = text.normalize('NFD').replace(IGNORABLE, '');
  return Array.from(plain, fold).join('').normalize('NFD');
}

/** Whether bytes that decode to a replacement character really hold one. */
function isUtf8(name: Uint8Array, text: string): boolean {
  const again = new TextEncoder().encode(text);
  return again.length === name.length && again.every((byte, i) => byte === name[i]);
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
