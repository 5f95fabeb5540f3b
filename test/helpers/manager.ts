/**
 * A stand-in for systemd as sd_notify(3) has it: a datagram socket, and what arrives at it. Node cannot listen on
 * one, so Python does; like the real one it looks who has sent a message and lets go of the file that comes with
 * BARRIER=1, which is what the sender waits for.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { eventually } from './eventually.ts';
import { atExit, exitOf, scratchDirectory } from './run.ts';

export interface Message {
  /** What is assigned, such as READY=1. */
  readonly lines: readonly string[];
  /** Its sender. */
  readonly pid: number;
}

export interface Manager extends AsyncDisposable {
  /** For NOTIFY_SOCKET. */
  readonly socketPath: string;
  /** All that have arrived, but for the barriers. */
  readonly messages: readonly Message[];
  /** How many messages there were with this line. */
  count(line: string): number;
  /** The first message from the `from`th on with a line that fits. */
  message(line: RegExp, from?: number): Promise<Message>;
}

const script = `
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.bind(sys.argv[1])
print(json.dumps({"lines": ["listening"], "pid": 0}), flush=True)
while True:
    data, extra, _, _ = s.recvmsg(65536, 4096)
    pid = 0
    for level, kind, content in extra:
        if kind == socket.SCM_RIGHTS:
            for i in range(0, len(content) - len(content) % 4, 4):
                os.close(int.from_bytes(content[i:i + 4], sys.byteorder))
        elif kind == socket.SCM_CREDENTIALS:
            pid = int.from_bytes(content[:4], sys.byteorder)
    print(json.dumps({"lines": data.decode().rstrip("\\n").split("\\n"), "pid": pid}), flush=True)
`;

export async function startManager(): Promise<Manager> {
  const directory = scratchDirectory('manager', os.tmpdir());
  const socketPath = path.join(directory, 'notify');
  const child = spawn('/usr/bin/python3', ['-c', script, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
  const erase = (): void => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  };
  const forget = atExit(erase);
  const messages: Message[] = [];
  let isListening = false;
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const message = JSON.parse(line) as Message;
      if (message.lines[0] === 'listening') isListening = true;
      else if (message.lines[0] !== 'BARRIER=1') messages.push(message);
    }
  });
  const manager: Manager = {
    socketPath,
    messages,
    count: (line) => messages.filter(({ lines }) => lines.includes(line)).length,
    message: (line, from = 0) =>
      eventually(() => {
        const found = messages.slice(from).find(({ lines }) => lines.some((one) => line.test(one)));
        if (found === undefined) throw new Error(`Nobody has sent ${line}: ${JSON.stringify(messages.slice(from))}`);
        return found;
      }),
    [Symbol.asyncDispose]: async () => {
      const exit = exitOf(child);
      erase();
      forget();
      await exit;
    },
  };
  await eventually(() => {
    if (!isListening) throw new Error('The stand-in for the service manager does not listen');
  });
  return manager;
}
