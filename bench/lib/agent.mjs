/**
 * discover with transactions of at most so many operations, which no option of its own can ask for:
 *
 *   node agent.mjs SOCKET ETCD-ENDPOINT HOST-ID HOST-IP OPERATIONS-MAX
 *
 * It is the built agent with the command line's own logging. Plain JavaScript, as `probe.mjs`.
 */
import { createAgent } from '../../dist/agent.js';
import { readSources, resolveConfig } from '../../dist/config.js';
import { openLog } from '../../dist/log.js';

const [socketPath, endpoints, id, ip, operations] = process.argv.slice(2);
const argv = { docker: { socketPath }, etcd: { endpoints: [endpoints] }, host: { id, ip } };
const { config } = await resolveConfig(readSources({ argv, env: {} }));
const { log } = await openLog(config.log);
createAgent(config, { log, operationsMax: Number(operations) });
