/** The man page, made of what `discover help` and `discover help <command>` print. */

/** No line of it is read as a request of troff, and hyphens stay such as can be copied. */
const escaped = (text) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1');

/** `helps` has the text of the program by the name '', and that of each command by its own. */
export function manPage({ version, date, helps }) {
  const { sections, epilogue } = parse(helps.get(''));
  const commands = sections.get('Commands') ?? [];
  const options = [...sections].filter(([heading]) => heading !== 'Commands' && heading !== 'Examples');
  return [
    `.TH DISCOVER 1 "${date}" "discover ${version}" "User Commands"`,
    '.SH NAME',
    'discover \\- service discovery for Docker hosts: keeps etcd true to the containers that run',
    '.SH SYNOPSIS',
    '.B discover',
    '[\\fIcommand\\fR] [\\fIoptions\\fR]',
    '.SH COMMANDS',
    ...commands.flatMap(({ name, text }) => commandOf(name, text, helps)),
    '.SH OPTIONS',
    ...options.flatMap(([heading, rows]) => [`.SS ${escaped(heading)}`, ...rows.flatMap(rowOf)]),
    '.PP',
    escaped(epilogue),
    '.SH FILES',
    '.TP',
    '.I /etc/discover/config.json',
    'The configuration, which',
    '.B discover init',
    'writes.',
    '.SH EXAMPLES',
    ...(sections.get('Examples') ?? []).flatMap(rowOf),
    '',
  ].join('\n');
}

const rowOf = ({ name, text }) => ['.TP', `.B ${escaped(name)}`, escaped(text)];

function commandOf(name, text, helps) {
  const word = name.replace(/^discover /, '');
  const rows = parse(helps.get(word) ?? '').sections.get('Options') ?? [];
  const own = rows.flatMap(rowOf);
  return ['.TP', `.B ${escaped(name)}`, escaped(text), ...(own.length > 0 ? ['.RS', ...own, '.RE'] : [])];
}

/** Headings end with a colon; below them is a row for each name, in two columns; what is on a line of its own at the end is the epilogue. */
function parse(help) {
  const sections = new Map();
  let rows;
  let epilogue = '';
  for (const line of help.split('\n')) {
    const [, heading] = /^(\S[^:]*):$/.exec(line) ?? [];
    const [, name, text] = /^ {2,6}(\S.*?)(?: {2,}(.*))?$/.exec(line) ?? [];
    if (heading !== undefined) {
      rows = [];
      sections.set(heading, rows);
    } else if (name !== undefined && rows !== undefined) {
      rows.push({ name, text: text ?? '' });
    } else if (/^ /.test(line) && rows?.length > 0) {
      const last = rows.at(-1);
      last.text = `${last.text} ${line.trim()}`;
    } else if (line !== '') {
      epilogue = line;
    }
  }
  for (const one of [...sections.values()].flat()) one.text = one.text.replaceAll(/ {2,}/g, ' ').trim();
  return { sections, epilogue };
}
