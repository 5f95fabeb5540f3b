/** The configuration of a simulated host. Beside the simulation, which is copied without the other helpers. */
import type { Config } from '../../src/config/options.ts';

export const defaultConfig: Config = {
  workers: 0,
  resyncSeconds: 60,
  serviceVariable: 'DISCOVER',
  namePolicy: 'compat',
  views: [],
  publish: {
    ...{ health: 'exclude-unhealthy', drain: true, paused: 'keep', afterMs: 0, stopGraceMs: 5_000 },
    // The simulation lets containers die all the time.
    ...{ flapDeaths: 0, flapMs: 60_000, engineAwayMs: 0 },
  },
  docker: { endpoint: { kind: 'socket', path: '/nowhere' }, apiVersion: undefined },
  etcd: { endpoints: ['http://127.0.0.1:1'], prefix: '/discover', ttlSeconds: 10 },
  host: { id: 'host-1', realm: 'default', ip: '10.0.0.1', onExit: 'keep' },
  log: { level: 'info' },
};
