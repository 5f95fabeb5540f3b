/**
 * Puts a blob into a program of Linux (ELF, 64 bits, little endian), as Node expects its single executable applications: a note named
 * `NODE_SEA_BLOB`. Two things are left out on the way, which are four tenths of Node's program: what a debugger alone reads, and most
 * languages (`icu.mjs`).
 *
 * The blob lies where the tables of languages were, behind those that stay, so no address changes. What is then left of their place is
 * cut out of the file: the segment that had them becomes two, with a hole between them. The table of segments has no room for one more:
 * the entry that describes the table itself goes, which programs at fixed addresses do not need. Node's are such programs; others are
 * refused. The notes that were there before are moved in front of the blob.
 *
 * It is done here because the tools for it change one architecture only (strip), or take eight times as long and have had no release for
 * years (postject); and because no package of npm has a Node with few languages.
 */
import { withoutLanguages } from './icu.mjs';

/** Where fields are: see elf(5). */
const header = { type: 16, sectionsAt: 40, segmentCount: 56, sectionCount: 60, namesIndex: 62 };
const segment = { size: 56, offset: 8, address: 16, physical: 24, fileSize: 32, memorySize: 40, align: 48 };
const section = { size: 64, type: 4, flags: 8, address: 16, offset: 24, length: 32, link: 40, align: 48 };
const symbol = { size: 24, address: 8, length: 16 };
const kinds = { load: 1, note: 4, table: 6 };
const types = { symbols: 2, strings: 3, note: 7, empty: 8 };
const fixedAddresses = 2;
const isLoaded = 2n;
/** The largest page that Linux has on either architecture. */
const page = 0x10000;

const noteName = 'NODE_SEA_BLOB';
const ownSection = '.note.node.sea';
const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:';

const upTo = (value, unit) => Math.ceil(value / unit) * unit;
const downTo = (value, unit) => Math.floor(value / unit) * unit;
const number = (buffer, at) => Number(buffer.readBigUInt64LE(at));
const write = (buffer, at, value) => buffer.writeBigUInt64LE(BigInt(value), at);

/** The program with the blob in it. */
export function withBlob(program, blob) {
  if (program.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') throw new Error('Not a program for Linux with 64 bits');
  if (program.readUInt16LE(header.type) !== fixedAddresses) throw new Error('Not a program at fixed addresses');
  const segments = tableOf(program, 64, segment.size, program.readUInt16LE(header.segmentCount));
  const sections = tableOf(
    program,
    number(program, header.sectionsAt),
    section.size,
    program.readUInt16LE(header.sectionCount),
  );
  const kept = sections.filter(
    (one, index) => index === 0 || (one.readBigUInt64LE(section.flags) & isLoaded) === isLoaded,
  );
  const end = Math.max(
    ...kept.map(
      (one) =>
        number(one, section.offset) +
        (one.readUInt32LE(section.type) === types.empty ? 0 : number(one, section.length)),
    ),
  );
  const languages = placeOfLanguages(program, segments, sections);
  const few = withoutLanguages(program.subarray(languages.offset, languages.end));
  const notes = notesWith(program, segments, blob);
  const notesAt = languages.offset + upTo(few.length, 16);
  const hole = { offset: upTo(notesAt + notes.length, page), end: downTo(languages.end, page) };
  if (hole.offset > hole.end) throw new Error('The blob is larger than the tables of languages that it replaces');

  const cut = hole.end - hole.offset;
  const names = namesOf(program, sections);
  const namesAt = upTo(end - cut, 8);
  const note = { offset: notesAt, address: notesAt + languages.shift, size: notes.length };
  const table = sectionsWith(kept, names, { languages, note, hole, namesAt });
  const out = Buffer.concat([
    program.subarray(0, languages.offset),
    few,
    Buffer.alloc(notesAt - languages.offset - few.length),
    notes,
    Buffer.alloc(hole.offset - notesAt - notes.length),
    program.subarray(hole.end, end),
    Buffer.alloc(namesAt - (end - cut)),
    names,
    Buffer.alloc(upTo(names.length, 8) - names.length),
    ...table,
  ]);
  segmentsWith(segments, note, hole).forEach((one, index) => void one.copy(out, 64 + index * segment.size));
  write(out, header.sectionsAt, namesAt + upTo(names.length, 8));
  out.writeUInt16LE(table.length, header.sectionCount);
  out.writeUInt16LE(table.length - 1, header.namesIndex);
  const at = out.indexOf(`${fuse}0`);
  if (at < 0 || out.indexOf(`${fuse}0`, at + 1) >= 0) throw new Error('Not a program of Node that takes a blob');
  out.write('1', at + fuse.length, 'latin1');
  return out;
}

function tableOf(program, at, size, count) {
  return Array.from({ length: count }, (_, index) =>
    Buffer.from(program.subarray(at + index * size, at + (index + 1) * size)),
  );
}

/** Where the tables are in the file, by their symbol, and how far their addresses are from that. */
function placeOfLanguages(program, segments, sections) {
  const content = (one) =>
    program.subarray(number(one, section.offset), number(one, section.offset) + number(one, section.length));
  const symbols = sections.find((one) => one.readUInt32LE(section.type) === types.symbols);
  if (symbols === undefined) throw new Error('The program has no symbols');
  const names = content(sections[symbols.readUInt32LE(section.link)]);
  const [name, ...more] = names.toString('latin1').match(/(?<=\0)icudt\d+_dat(?=\0)/g) ?? [];
  if (name === undefined || more.length > 0) throw new Error('The program does not have the tables of ICU once');
  const nameAt = names.indexOf(`\0${name}\0`) + 1;
  const all = content(symbols);
  let at = 0;
  while (at < all.length && all.readUInt32LE(at) !== nameAt) at += symbol.size;
  if (at === all.length) throw new Error(`No symbol is named ${name}`);
  const address = number(all, at + symbol.address);
  const holder = segments.find((one) => {
    const from = number(one, segment.address);
    return one.readUInt32LE(0) === kinds.load && address >= from && address < from + number(one, segment.fileSize);
  });
  const shift = number(holder, segment.address) - number(holder, segment.offset);
  return { offset: address - shift, end: address - shift + number(all, at + symbol.length), shift };
}

/** The notes that are there, and the blob. */
function notesWith(program, segments, blob) {
  const there = segments.filter((one) => one.readUInt32LE(0) === kinds.note);
  if (there.length !== 1) throw new Error(`Expected one segment of notes, found ${there.length}`);
  const at = number(there[0], segment.offset);
  const name = Buffer.alloc(upTo(noteName.length + 1, 4));
  name.write(noteName);
  const head = Buffer.alloc(12);
  head.writeUInt32LE(noteName.length + 1, 0);
  head.writeUInt32LE(blob.length, 4);
  const padding = Buffer.alloc(upTo(blob.length, 4) - blob.length);
  return Buffer.concat([program.subarray(at, at + number(there[0], segment.fileSize)), head, name, blob, padding]);
}

/** As many segments as before, with those that are loaded in the order of their addresses. */
function segmentsWith(segments, note, hole) {
  const left = segments.filter((one) => one.readUInt32LE(0) !== kinds.table);
  if (left.length + 1 !== segments.length) throw new Error('Expected one segment that describes the table of segments');
  return left.flatMap((one) => {
    const [offset, size] = [number(one, segment.offset), number(one, segment.fileSize)];
    if (one.readUInt32LE(0) === kinds.note) return [changed(one, segment, { ...note, fileSize: note.size })];
    if (offset >= hole.end) return [changed(one, segment, { offset: offset - (hole.end - hole.offset) })];
    if (offset + size <= hole.offset) return [one];
    const shift = number(one, segment.address) - offset;
    return [
      changed(one, segment, { fileSize: hole.offset - offset }),
      changed(one, segment, { offset: hole.offset, address: hole.end + shift, fileSize: offset + size - hole.end }),
    ];
  });
}

/** The names of the sections, and one more. */
function namesOf(program, sections) {
  const own = sections[program.readUInt16LE(header.namesIndex)];
  const at = number(own, section.offset);
  return Buffer.concat([program.subarray(at, at + number(own, section.length)), Buffer.from(`${ownSection}\0`)]);
}

/**
 * The sections that are loaded, the blob, what is behind the hole, and the names. New ones come last, because others are known by their
 * index. With a section of its own, strip leaves the blob alone.
 */
function sectionsWith(kept, names, { languages, note, hole, namesAt }) {
  const cut = hole.end - hole.offset;
  const holder = kept.find((one) => {
    const from = number(one, section.offset);
    return from <= languages.offset && from + number(one, section.length) >= languages.end;
  });
  if (holder === undefined) throw new Error('The tables of ICU are in no section');
  const end = number(holder, section.offset) + number(holder, section.length);
  const moved = kept.map((one) => {
    const offset = number(one, section.offset);
    if (one === holder) return changed(one, section, { length: note.offset - offset });
    return offset >= hole.end ? changed(one, section, { offset: offset - cut }) : one;
  });
  const make = (name, type, values) => {
    const made = Buffer.alloc(section.size);
    made.writeUInt32LE(names.indexOf(`${name}\0`), 0);
    made.writeUInt32LE(type, section.type);
    return changed(made, section, values);
  };
  const { offset, address, size } = note;
  return [
    ...moved,
    make(ownSection, types.note, { flags: isLoaded, address, offset, length: size, align: 4 }),
    changed(holder, section, { offset: hole.offset, address: hole.end + languages.shift, length: end - hole.end }),
    make('.shstrtab', types.strings, { offset: namesAt, length: names.length, align: 1 }),
  ];
}

/** A copy of an entry with other values. What is loaded is as long in memory as in the file, and has one address. */
function changed(entry, fields, { address, fileSize, ...values }) {
  const copy = Buffer.from(entry);
  const all = {
    ...values,
    ...(address !== undefined && { address, ...(fields === segment && { physical: address }) }),
    ...(fileSize !== undefined && { fileSize, memorySize: fileSize }),
  };
  for (const [field, value] of Object.entries(all))
    if (field in fields && field !== 'size') write(copy, fields[field], value);
  return copy;
}
