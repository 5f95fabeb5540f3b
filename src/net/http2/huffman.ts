/**
 * The Huffman code of HPACK (RFC 7541, 5.2 and appendix B): decoding only, because a client may send plain text. Pure.
 *
 * The code is canonical: codes of one length count up with the symbols, and the first code of the next
 * length follows from the last of this one. So the lengths say everything, and a decoder compares a
 * code with the first of its length.
 */

/** Bits of the code of each byte, sixteen bytes a row; the last is the end of a text, which must not occur. */
const codeLengths = [
  ...[13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28],
  ...[28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  ...[6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6],
  ...[5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  ...[13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
  ...[7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  ...[15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5],
  ...[6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  ...[20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23],
  ...[24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  ...[22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23],
  ...[21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  ...[26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25],
  ...[19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  ...[20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23],
  ...[26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
  30,
];
const endOfText = 256;
const longestCode = 30;

/** Symbols in the order of their codes. */
const symbols = Uint16Array.from(
  codeLengths.map((_, symbol) => symbol).sort((a, b) => (codeLengths[a] ?? 0) - (codeLengths[b] ?? 0) || a - b),
);
/** By length: the number of codes, the first of them, and the index of its symbol. */
const count = new Uint32Array(longestCode + 1);
const firstCode = new Uint32Array(longestCode + 1);
const firstSymbol = new Uint32Array(longestCode + 1);
for (const length of codeLengths) count[length] = (count[length] ?? 0) + 1;
for (let length = 1; length <= longestCode; length++) {
  const shorter = length - 1;
  firstCode[length] = ((firstCode[shorter] ?? 0) + (count[shorter] ?? 0)) << 1;
  firstSymbol[length] = (firstSymbol[shorter] ?? 0) + (count[shorter] ?? 0);
}

/** Throws at the errors of the RFC: an end-of-text symbol in the text, padding of 8 bits or more, or of zeros. */
export function decodeHuffman(bytes: Buffer): string {
  const text = Buffer.allocUnsafe(Math.floor((bytes.length * 8) / 5));
  let written = 0;
  let code = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let shift = 7; shift >= 0; shift--) {
      code = (code << 1) | ((byte >> shift) & 1);
      length++;
      const index = code - (firstCode[length] ?? 0);
      if (index >= (count[length] ?? 0)) continue;
      const symbol = symbols[(firstSymbol[length] ?? 0) + index] ?? endOfText;
      if (symbol === endOfText) throw new Error('Huffman code holds the end of the text');
      text[written++] = symbol;
      code = 0;
      length = 0;
    }
  }
  if (length > 7) throw new Error('Huffman code has 8 bits of padding or more');
  if (code !== 2 ** length - 1) throw new Error('Huffman code has padding that is not all ones');
  return text.toString('latin1', 0, written);
}
