/**
 * A real systemd: this machine's own files and programs, booted as a container, with its network and with all that it
 * writes thrown away in the end. For root, by systemd-nspawn.
 *
 * Nothing is started in it but systemd itself, so that this machine's services do not come up a second time.
 */
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { eventually } from './eventually.ts';
import { atExit, cleanEnvironment, exitOf, requireCommand, scratchDirectory } from './run.ts';

export interface Systemd extends AsyncDisposable {
  /** Where its root is for us. */
  readonly root: string;
  /** Runs a line of shell inside. Rejects when that fails. */
  shell(line: string): Promise<string>;
  /** What systemd knows of a unit. */
  property(unit: string, name: string): Promise<string>;
}

const run = promisify(execFile);
const bootTimeoutMs = 30_000;

/** `binds`: what is there inside under another path, as `outside:inside`. */
export async function startSystemd(binds: readonly string[]): Promise<Systemd> {
  const scratch = scratchDirectory('systemd', os.tmpdir());
  await run('mount', ['-t', 'tmpfs', 'tmpfs', scratch]);
  const [root, upper, work] = ['root', 'upper', 'work'].map((name) => path.join(scratch, name)) as [
    string,
    string,
    string,
  ];
  for (const folder of [root, upper, work]) mkdirSync(folder);
  await run('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=/,upperdir=${upper},workdir=${work}`, root]);
  writeFileSync(path.join(root, 'etc/machine-id'), '');
  const units = path.join(root, 'etc/systemd/system');
  rmSync(units, { recursive: true, force: true });
  mkdirSync(units);
  symlinkSync('/lib/systemd/system/basic.target', path.join(units, 'default.target'));

  const nspawn = ['--quiet', '--register=no', '--keep-unit', '--boot', '--console=pipe', `--directory=${root}`];
  const child = spawn(requireCommand('systemd-nspawn'), [...nspawn, ...binds.map((bind) => `--bind=${bind}`)], {
    stdio: 'ignore',
    env: cleanEnvironment(),
  });
  const exit = exitOf(child);
  const end = (): void => {
    // It outlives the process that started it, and all the others end with it.
    const init = initOf(child.pid ?? 0);
    if (init !== undefined) process.kill(init, 'SIGKILL');
    child.kill('SIGKILL');
  };
  const forget = atExit(end);
  const dispose = async (): Promise<void> => {
    end();
    await exit;
    forget();
    // Lazily: what ran in it may take a moment to be gone.
    for (const mounted of [root, scratch]) await run('umount', ['--lazy', mounted]);
    rmSync(scratch, { recursive: true, force: true });
  };
  const shell = async (line: string): Promise<string> => {
    const inside = ['--target', String(initOf(child.pid ?? 0)), '--mount', '--pid', '--uts', '--ipc'];
    const { stdout } = await run('nsenter', [...inside, 'sh', '-c', line], {
      env: cleanEnvironment(),
      timeout: 60_000,
    });
    return stdout.trim();
  };
  try {
    await eventually(async () => void (await shell('systemctl is-active basic.target')), { timeoutMs: bootTimeoutMs });
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    root,
    shell,
    property: (unit, name) => shell(`systemctl show ${unit} --property=${name} --value`),
    [Symbol.asyncDispose]: dispose,
  };
}

/** The first process of the container, once it is there. */
function initOf(pid: number): number | undefined {
  const childrenOf = (parent: number): number[] =>
    readdirSync(`/proc/${parent}/task`).flatMap((task) =>
      readFileSync(`/proc/${parent}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
    );
  return childrenOf(pid).find((child) => readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'systemd');
}
