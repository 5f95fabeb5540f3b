/** What the program says of itself, for the man page and the shells. Bundled with the program, and run while the package is made. */
import { help } from '../../src/commands/help.ts';
import { commandTable } from '../../src/commands/table.ts';

/** The help of the program by the name '', and that of each command by its own. */
export async function helps() {
  const texts = new Map([['', await help()]]);
  for (const [name, row] of Object.entries(commandTable)) texts.set(name, await help(name, await row.load()));
  return texts;
}

export async function completion(shell) {
  let text = '';
  const io = { write: (more) => (text += more) };
  await (await commandTable.completion.load()).run({ flags: {}, words: [shell], sources: {} }, io);
  return text;
}
