/** `/healthz` and `/readyz`: answers to programs that start, stop and watch this one. */
import type { Agent } from '../agent.ts';
import { type Body, jsonBody } from './answers.ts';
import { checksOf } from './status.ts';

export interface Probe {
  readonly isGood: boolean;
  readonly type: string;
  readonly body: Body;
}

const line = (isGood: boolean, said: string): Probe => ({
  isGood,
  type: 'text/plain',
  body: [Buffer.from(`${said}\n`)],
});

export function healthOf({ state: { isAlive } }: Agent): Probe {
  return line(isAlive, isAlive ? 'ok' : 'stopping');
}

export function readinessOf(agent: Agent, isVerbose: boolean): Probe {
  const checks = checksOf(agent);
  const missing = checks.filter(({ ok }) => !ok).map(({ name }) => name);
  const ready = missing.length === 0;
  if (!isVerbose) return line(ready, ready ? 'ok' : `not ready: ${missing.join(', ')}`);
  const { health, ledger } = agent;
  const body = jsonBody({ ready, checks, health, oldestUnsettledSeconds: ledger.oldestUnsettledSeconds() });
  return { isGood: ready, type: 'application/json; charset=utf-8', body };
}
