/**
 * `discover completion [shell]`: a script that completes the command line in bash or zsh, and the answers that the
 * script asks for.
 *
 * Options and their values come from the grammar, by way of yargs; words come from the command that takes them. Bash
 * splits words at the characters of COMP_WORDBREAKS, such as the colon, and replaces only the last piece. So its script
 * passes the whole line and cuts the part before the last break off every answer.
 */
import { systemFilePath } from '../config/sources.ts';
import { configError } from '../errors.ts';
import { type Command, type CommandTable, command } from './command.ts';
import { parserFor } from './grammar.ts';
import { printable } from './print.ts';
import { readLeniently } from './reading.ts';

const bash = `# discover completion for bash: discover completion bash >> ~/.bashrc
_discover() {
  local line=\${COMP_LINE:0:COMP_POINT} reply word rest cut=
  COMPREPLY=()
  while IFS= read -r reply; do COMPREPLY+=("$reply"); done < <(discover completion --line="$line" 2>/dev/null)
  word=\${line##*[[:space:]]}
  if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then cut=\${word%"\${word##*:}"}; fi
  rest=\${word#"$cut"}
  if [[ $COMP_WORDBREAKS == *=* && $rest == *=* ]]; then cut+=\${rest%"\${rest##*=}"}; fi
  COMPREPLY=("\${COMPREPLY[@]#"$cut"}")
}
complete -o bashdefault -o default -F _discover discover
`;

const zsh = `#compdef discover
# discover completion for zsh: discover completion zsh >> ~/.zshrc
_discover() {
  local -a replies
  replies=("\${(@f)$(discover completion --line="\${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
  if [[ -n $replies[1] ]]; then compadd -a replies; else _files; fi
}
compdef _discover discover
`;

/** The command for the table that has it as a row. */
export const completionOf = (table: CommandTable) =>
  command({
    options: {
      line: { type: 'string', description: 'Print what may end this command line, as the script asks' },
    },
    words: ['[bash|zsh]'],
    async run({ flags, words: [shell], sources }, io) {
      if (flags.line !== undefined) {
        for (const reply of await replies(flags.line, table, sources.env)) io.write(`${printable(reply)}\n`);
        return 0;
      }
      const name = shell ?? (/zsh/.test(sources.env?.SHELL ?? '') ? 'zsh' : 'bash');
      if (name !== 'bash' && name !== 'zsh') {
        const got = JSON.stringify(name);
        throw configError('the command line', [{ path: 'shell', reason: 'must be bash or zsh', got }]);
      }
      io.write(name === 'bash' ? bash : zsh);
      return 0;
    },
  });

/** The possible replacements for the last word of the line, which may be empty. */
export async function replies(line: string, table: CommandTable, env: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const [, ...argv] = line.trimStart().split(/\s+/);
  const last = argv.at(-1) ?? '';
  const [, option, value] = /^(--[^=]+)=(.*)$/s.exec(last) ?? [];
  const before = argv.slice(0, -1);
  if (option !== undefined) {
    const values = await answers([...before, option, value ?? ''], table, env);
    return values.map((one) => `${option}=${one}`);
  }
  return answers([...before, last], table, env);
}

async function answers(argv: readonly string[], table: CommandTable, env: NodeJS.ProcessEnv): Promise<string[]> {
  const before = argv.slice(0, -1);
  const last = argv.at(-1) ?? '';
  const named = readLeniently(before).words[0];
  const command = named !== undefined && Object.hasOwn(table, named) ? await table[named]?.load() : undefined;
  const { words, options, configFile } = readLeniently(before, command);
  const isValue = takesValue(before, command);
  const names = named === undefined && !isValue ? ['run', ...Object.keys(table), 'help', 'version'] : [];
  const found = await byGrammar(argv, command, names);
  const takes = command?.words?.length ?? 0;
  if (command?.complete !== undefined && words.length <= takes && !isValue && !last.startsWith('-')) {
    const sources = { argv: options, env, file: configFile, systemFile: systemFilePath };
    for (const word of await command.complete(sources, words.slice(1))) found.push(word);
  }
  // yargs offers options if it has nothing else, and short options with two dashes.
  const isWanted = (one: string) => one.startsWith('-') === last.startsWith('-') && !/^--.$/.test(one);
  return found.filter((one) => one.startsWith(last) && isWanted(one));
}

/** Whether the word after these is the value of an option: yargs then reads it as one. */
function takesValue(before: readonly string[], command: Command | undefined): boolean {
  if (!before.at(-1)?.startsWith('-')) return false;
  const probe = 'x';
  return readLeniently([...before, probe], command).words.at(-1) !== probe;
}

async function byGrammar(
  argv: readonly string[],
  command: Command | undefined,
  names: readonly string[],
): Promise<string[]> {
  // yargs writes descriptions behind its answers for a shell that this names; scripts here take plain ones.
  delete process.env.SHELL;
  delete process.env.ZSH_NAME;
  const parser = parserFor('show', { command });
  for (const name of names) parser.command(name, '');
  const isDotted = argv.at(-1)?.startsWith('--') === true && argv.at(-1)?.includes('.') === true;
  const found = await parser.getCompletion(
    argv.map((word) => (word.startsWith('--') ? word.replaceAll('.', ':') : word)),
  );
  return isDotted ? found.map((one) => one.replaceAll(':', '.')) : [...found];
}
