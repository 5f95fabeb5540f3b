/**
 * One container says far too much, another starts over and over, a third has taken a name that is not
 * its to take: what that costs the others. What a container says in a few words is in `walk`.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Dockerd, startDockerd } from '../helpers/dockerd.ts';
import { eventually } from '../helpers/eventually.ts';
import { fromDockerd, startHost } from '../helpers/host.ts';
import { needs, type Running } from '../helpers/run.ts';
import { testInFull } from '../helpers/share.ts';

/** Of one start of one container: ten refusals, and how many more there are. */
const warningsMax = 11;

interface Large {
  readonly env: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/** By the API, because a command line ends at 128 KiB an argument. */
async function runLarge(dockerd: Dockerd, { env, labels }: Large): Promise<string> {
  const created = await dockerd.ask('POST', '/containers/create', {
    Image: await dockerd.image(),
    Cmd: ['sleep', '1000000'],
    Env: env,
    Labels: labels,
    ExposedPorts: { '80/tcp': {} },
    HostConfig: { PortBindings: { '80/tcp': [{ HostPort: '' }] } },
  });
  assert.equal(created.status, 201, created.said);
  const { Id } = JSON.parse(created.said) as { Id: string };
  const started = await dockerd.ask('POST', `/containers/${Id}/start`);
  assert.equal(started.status, 204, started.said);
  return Id;
}

const peakMegabytes = (pid: number): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

const warnings = (discover: Running, id: string) =>
  discover.logs.filter((line) => line.level === 'warn' && String(line.container).startsWith(id.slice(0, 12)));

describe('hostile containers', { skip: needs('etcd', 'etcdctl', 'dockerd', 'docker', 'busybox', 'ip', 'root') }, () => {
  test('cost the others nothing, and themselves a few lines of the log (real dockerd, real etcd)', async (t) => {
    await using dockerd = await startDockerd();
    await using host = await startHost({ source: fromDockerd(dockerd) });
    const others = [
      await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] }),
      await dockerd.run({ env: { DISCOVER: 'web:80,admin:81' }, ports: [80, 81] }),
    ] as const;
    await host.converged();
    const before = await host.mark();

    const many = Array.from({ length: 300_000 }, (_, index) => `s${index}:80`)
      .join()
      .slice(0, 4 << 20);
    const verbose = await runLarge(dockerd, { env: [`DISCOVER=${many}`], labels: {} });
    // Each event, each list and each answer of this one repeats it, in JSON 27 MB of it.
    const label = '{"\\'.repeat((16 << 20) / 3);
    const labelled = await runLarge(dockerd, { env: ['DISCOVER=labelled:80', 'DISCOVER=twice:80'], labels: { label } });
    const bad = Array.from({ length: 200 }, (_, index) => `\u001b[2J${index}/\u202e:80`).join();
    const storm = await dockerd.run({
      env: { DISCOVER: bad },
      ports: [80],
      args: ['--restart=always'],
      command: ['false'],
    });
    const impostor = await dockerd.run({
      name: others[0]?.slice(0, 12),
      env: { DISCOVER: 'impostor:80' },
      ports: [80],
    });
    await eventually(async () => {
      const count = await dockerd.docker('inspect', '--format={{.RestartCount}}', storm);
      assert.ok(Number(count) >= 4, `Started anew ${count} times`);
    });
    await host.converged();

    const held = await host.held();
    const of = (id: string): string[] => [...held.keys()].filter((key) => key.includes(id.slice(0, 12)));
    // The kernel starts no process with a variable that long: it runs for Docker alone, and for a moment.
    assert.deepEqual(of(verbose), []);
    assert.equal(of(labelled).length, 3);
    assert.equal(of(impostor).length, 2);
    assert.deepEqual(of(storm), []);
    const { discover } = host;
    // Each event, list and answer of the labelled one is 27 MB, as bytes and as text.
    const peak = peakMegabytes(discover.pid);
    t.diagnostic(`${peak.toFixed()} MB at the most`);
    assert.ok(peak < 600, `${peak} MB`);
    // Now each is looked at again, beside one that is named as the first one's keys end.
    await host.terminate();
    await host.launch();
    await host.converged();
    const changes = (await host.changesSince(before)).filter(({ key }) =>
      others.some((id) => key.includes(id.slice(0, 12))),
    );
    assert.deepEqual(changes, [], 'The others were touched');

    const starts = 1 + Number(await dockerd.docker('inspect', '--format={{.RestartCount}}', storm));
    assert.ok(warnings(discover, storm).length <= starts * warningsMax);
    assert.ok(warnings(discover, verbose).length <= 2);
    for (const id of [...others, labelled, impostor]) assert.deepEqual(warnings(discover, id), []);
    for (const line of discover.output.split('\n')) assert.ok(line.length < 1_000, line.slice(0, 1_000));
    assert.doesNotMatch(discover.output, /\u001b|\u202e/);

    await dockerd.docker('rm', '--force', verbose, labelled, storm, impostor);
    await host.converged();
    assert.equal((await host.held()).size, 5);
  });

  testInFull('hold up nobody with events that are too large to read (real dockerd, real etcd)', async () => {
    await using dockerd = await startDockerd();
    await using host = await startHost({ source: fromDockerd(dockerd), args: ['--debug'] });
    const large = await runLarge(dockerd, { env: [], labels: { label: 'x'.repeat(40 << 20) } });
    const other = await dockerd.run({ env: { DISCOVER: 'web:80' }, ports: [80] });
    await eventually(async () => assert.equal((await host.held()).size, 2));
    // Longer than discover waits for the event of a start that a list has shown.
    await sleep(11_000);
    await dockerd.docker('rm', '--force', large);
    await dockerd.docker('restart', other);
    await host.converged();
    const ends = host.discover.logs.filter(({ msg, reason }) => msg === 'event stream ended' && reason === 'silent');
    assert.deepEqual(ends, [], 'The stream was given up');
  });
});
