/**
 * discover with transactions of at most so many operations, which no option and no public call asks for; so it is run
 * from the source: `node --import ./test/loader.mjs bench/lib/agent.mjs SOCKET ETCD-ENDPOINT HOST-ID HOST-IP
 * OPERATIONS-MAX`. It writes no log.
 */
import { createAgent } from '../../src/agent.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { readSources } from '../../src/config/sources.ts';

const [socketPath, endpoint, id, ip, operationsMax] = process.argv.slice(2);
const options = { docker: { socketPath }, etcd: { endpoints: [endpoint] }, host: { id, ip } };
const { config } = await resolveConfig(readSources({ options }));
createAgent(config, { operationsMax: Number(operationsMax) });
