/**
 * Hosts 0 to N-1 of a fleet as agents in one process: `node fleet-agents.mjs SOCKET ETCD-ENDPOINTS`. Told over IPC to
 * start or to restart those from one number to another, it answers when all of them work. They write no log.
 */
import { startAgent } from '../../dist/index.js';

const [socketPath, endpoints = ''] = process.argv.slice(2);
const agents = new Map();
/** Seconds; a sixth of the default, so that a rest of ten seconds has one comparison of each host in it. */
const resync = 10;

async function start(number) {
  const host = { id: `h${number}`, ip: '10.0.0.5' };
  const etcd = { endpoints: endpoints.split(',') };
  const agent = await startAgent({ workers: 0, resync, docker: { socketPath }, etcd, host });
  agents.set(number, agent);
  await new Promise((resolve) => agent.once('start', resolve));
}

async function restart(number) {
  await agents.get(number)?.stop();
  await start(number);
}

process.on('message', async ({ from, to, isRestart }) => {
  const numbers = Array.from({ length: to - from }, (_, index) => from + index);
  await Promise.all(numbers.map(isRestart ? restart : start));
  process.send('done');
});
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
