/**
 * Puts a blob into a program of Linux (ELF, 64 bits, little endian), as Node expects its single executable applications: a note named
 * `NODE_SEA_BLOB`. What a debugger alone reads is left out on the way, which is a seventh of Node's program.
 *
 * The blob lies behind everything else, at an address above all others, in a segment of its own. The table of segments has no room for
 * one more: the entry that describes the table itself goes, which programs at fixed addresses do not need. Node's are such programs; others
 * are refused. The notes that were there before stand in front of the blob.
 *
 * It is done here because the tools for it change one architecture only (strip), or take eight times as long and have had no release for years (postject).
 */

/** Where fields are: see elf(5). */
const header = { type: 16, sectionsAt: 40, segmentCount: 56, sectionCount: 60, namesIndex: 62 };
const segment = { size: 56, offset: 8, address: 16, physical: 24, fileSize: 32, memorySize: 40, align: 48 };
const section = { size: 64, type: 4, flags: 8, address: 16, offset: 24, length: 32, link: 40, align: 48 };
const kinds = { load: 1, note: 4, table: 6 };
const fixedAddresses = 2;
const isLoaded = 2n;
const readable = 4;
const strings = 3;
const empty = 8;
/** The largest page that Linux has on either architecture. */
const page = 0x10000;

const noteName = 'NODE_SEA_BLOB';
const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:';

const upTo = (value, unit) => Math.ceil(value / unit) * unit;
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
        number(one, section.offset) + (one.readUInt32LE(section.type) === empty ? 0 : number(one, section.length)),
    ),
  );
  const loads = segments.filter((one) => one.readUInt32LE(0) === kinds.load);
  const top = Math.max(...loads.map((one) => number(one, segment.address) + number(one, segment.memorySize)));
  const offset = upTo(end, page);
  const notes = notesWith(program, segments, blob);

  const place = { offset, address: upTo(top, page), size: notes.length };
  const names = namesOf(program, sections);
  const out = Buffer.concat([
    program.subarray(0, end),
    Buffer.alloc(offset - end),
    notes,
    Buffer.alloc(upTo(notes.length, 8) - notes.length),
    ...sectionsWith(kept, names, place),
  ]);
  segmentsWith(segments, place).forEach((one, index) => void one.copy(out, 64 + index * segment.size));
  write(out, header.sectionsAt, offset + upTo(notes.length, 8) + upTo(names.length, 8));
  out.writeUInt16LE(kept.length + 2, header.sectionCount);
  out.writeUInt16LE(kept.length + 1, header.namesIndex);
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

/** As many segments as before. Those that are loaded have to be in the order of their addresses. */
function segmentsWith(segments, { offset, address, size }) {
  const left = segments.filter((one) => one.readUInt32LE(0) !== kinds.table);
  if (left.length + 1 !== segments.length) throw new Error('Expected one segment that describes the table of segments');
  const make = (kind, align) => {
    const made = Buffer.alloc(segment.size);
    made.writeUInt32LE(kind, 0);
    made.writeUInt32LE(readable, 4);
    for (const [field, value] of [
      [segment.offset, offset],
      [segment.address, address],
      [segment.physical, address],
      [segment.fileSize, size],
      [segment.memorySize, size],
      [segment.align, align],
    ])
      write(made, field, value);
    return made;
  };
  const last = left.findLastIndex((one) => one.readUInt32LE(0) === kinds.load);
  return left
    .map((one) => (one.readUInt32LE(0) === kinds.note ? make(kinds.note, 4) : one))
    .toSpliced(last + 1, 0, make(kinds.load, page));
}

const ownSection = '.note.node.sea';

/** The names of the sections, and one more. */
function namesOf(program, sections) {
  const own = sections[program.readUInt16LE(header.namesIndex)];
  const at = number(own, section.offset);
  return Buffer.concat([program.subarray(at, at + number(own, section.length)), Buffer.from(`${ownSection}\0`)]);
}

/** The table of sections, behind their names. With a section of its own, strip leaves the blob alone. */
function sectionsWith(kept, names, { offset, address, size }) {
  const make = (name, values) => {
    const made = Buffer.alloc(section.size);
    made.writeUInt32LE(names.indexOf(`${name}\0`), 0);
    made.writeUInt32LE(values.type, section.type);
    for (const key of ['flags', 'address', 'offset', 'length', 'align']) write(made, section[key], values[key]);
    return made;
  };
  const namesAt = offset + upTo(size, 8);
  return [
    names,
    Buffer.alloc(upTo(names.length, 8) - names.length),
    ...kept,
    make(ownSection, { type: 7, flags: isLoaded, address, offset, length: size, align: 4 }),
    make('.shstrtab', { type: strings, flags: 0, address: 0, offset: namesAt, length: names.length, align: 1 }),
  ];
}
