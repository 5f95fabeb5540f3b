/**
 * discover with transactions of at most so many operations, which no option of the command line asks for:
 * `node agent.mjs SOCKET ETCD-ENDPOINT HOST-ID HOST-IP OPERATIONS-MAX`. It writes no log.
 */
import { startAgent } from '../../dist/index.js';

const [socketPath, endpoint, id, ip, operationsMax] = process.argv.slice(2);
const options = { docker: { socketPath }, etcd: { endpoints: [endpoint] }, host: { id, ip } };
await startAgent(options, { operationsMax: Number(operationsMax) });
