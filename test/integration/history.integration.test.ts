/** `discover history` and `discover at`, of a running agent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forkEngine } from '../../bench/engine/client.ts';
import { runCommand } from '../helpers/command.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort, fromEngine, startHost } from '../helpers/host.ts';
import { needs } from '../helpers/run.ts';

test('who has and who had an address, when and why (simulated engine, real etcd)', {
  skip: needs('etcd'),
}, async () => {
  const port = String(await freePort());
  await using engine = await forkEngine({ containers: 0 });
  await using host = await startHost({ source: fromEngine(engine), args: ['--http:listen', port] });
  const etcd = ['--etcd:endpoints', host.etcd.endpoint];
  const [id = ''] = await engine.run([{ env: ['DISCOVER=shop:80'], ports: [{ container: '80/tcp' }] }]);
  await host.converged();
  const key = `/discover/service/shop/default/h1/${id.slice(0, 12)}`;
  const address = String((await host.etcd.get(key)).get(key)).replace('tcp://', '');
  const at = (given: string) => runCommand(['at', given, ...etcd, '--http:listen', port]);
  const [now, host1] = [await at(address), await at('10.0.0.5')];
  for (const { code, out } of [now, host1]) {
    assert.equal(code, 0);
    assert.match(
      out,
      new RegExp(
        `^SERVICE .*\\nshop +default +h1 .*tcp://${address}\\n\\nTIME .*\\n\\S+Z +published +shop +\\S+ +ready +\\d+ ms +tcp://${address}\\n$`,
      ),
    );
  }
  await engine.apply('stop', [id]);
  await host.converged();
  const past = await at(address);
  assert.match(past.out, /^TIME .*\n\S+ +published .*\n\S+ +withdrawn +shop /);
  assert.ok(!past.out.includes('SERVICE  REALM'), past.out);
  const history = (...args: string[]) => runCommand(['history', ...args, '--http:listen', port]);
  const entries = JSON.parse((await history(id, '-o', 'json')).out) as {
    change: string;
    services: { url: string }[];
  }[];
  assert.deepEqual(
    entries.map(({ change, services }) => [change, services[0]?.url]),
    [
      ['published', `tcp://${address}`],
      ['withdrawn', `tcp://${address}`],
    ],
  );
  assert.equal((await history('shop', '--since', '10m')).code, 0);
  assert.deepEqual(await history('shop', '--since', '2999-01-01'), { code: 1, out: '', err: '' });
  assert.equal((await at('10.0.0.6:1')).code, 1);
  for (const args of [['at', 'host:80'], ['at', '10.0.0.5:99999'], ['history', 'x', '--since', 'soon'], ['history']]) {
    const { code, err } = await runCommand([...args, ...etcd, '--http:listen', port]);
    assert.equal(code, 78, `${args.join(' ')}: ${err}`);
  }
  // Without an agent the present is known all the same.
  const alone = await runCommand(['at', address, ...etcd]);
  assert.match(alone.err, /^discover: The past is not known here: .*http\.listen/);
  host.discover.signal('SIGHUP');
  await eventually(async () => assert.match(host.discover.output, /configuration unchanged/));
  assert.equal((await history('shop')).code, 0);
});
