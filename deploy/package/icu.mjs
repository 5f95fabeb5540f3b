/**
 * The tables of languages (ICU) in Node's program, without those that no part of discover asks for.
 *
 * They are a third of Node's program. What stays is about what Node calls `small-icu`: English, all time zones, and what strings and
 * addresses need. A program that asks for another language gets English, and `TextDecoder` knows UTF-8, UTF-16 and Latin-1.
 *
 * The format is ICU's for common data: a header, the number of tables, for each the places of its name and its content, in the order of
 * the names, then all names and all contents.
 */

/** Other languages and the list of all of them, the words of languages without spaces, other encodings, and rules from script to script. */
const isLeftOut = (name) =>
  /\/(?!en[_.])[a-z]{2,3}(_\w+)?\.res$/.test(name) || /\.(dict|cnv)$/.test(name) || name.includes('/translit/');

const align = (value) => Math.ceil(value / 16) * 16;

/** The same data with fewer tables. */
export function withoutLanguages(data) {
  const start = data.readUInt16LE(0);
  if (data.readUInt16LE(2) !== 0x27da || data.toString('latin1', 12, 16) !== 'CmnD') throw new Error('Not data of ICU');
  const toc = data.subarray(start);
  const count = toc.readUInt32LE(0);
  const place = (index) => (index < count ? toc.readUInt32LE(8 + index * 8) : toc.length);
  const kept = [];
  for (let index = 0; index < count; index++) {
    const at = toc.readUInt32LE(4 + index * 8);
    const name = toc.toString('latin1', at, toc.indexOf(0, at));
    if (!isLeftOut(name)) kept.push({ name, content: toc.subarray(place(index), place(index + 1)) });
  }
  if (kept.length === 0 || kept.length === count) throw new Error('The tables of ICU have other names');

  const head = Buffer.alloc(4 + kept.length * 8);
  head.writeUInt32LE(kept.length, 0);
  const names = Buffer.from(kept.map(({ name }) => `${name}\0`).join(''), 'latin1');
  let nameAt = head.length;
  let contentAt = align(head.length + names.length);
  const parts = [data.subarray(0, start), head, names, Buffer.alloc(contentAt - head.length - names.length)];
  kept.forEach(({ name, content }, index) => {
    head.writeUInt32LE(nameAt, 4 + index * 8);
    head.writeUInt32LE(contentAt, 8 + index * 8);
    nameAt += name.length + 1;
    contentAt += align(content.length);
    parts.push(content, Buffer.alloc(align(content.length) - content.length));
  });
  return Buffer.concat(parts);
}
