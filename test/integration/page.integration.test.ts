/**
 * The page, in a real browser: what it shows is what there is, from whomever it comes, and it can be used by
 * whoever has to.
 *
 * `SCREENSHOT=<directory>` has it take the pictures of deploy/monitoring.md there, which takes twelve minutes.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import axe, { type AxeResults } from 'axe-core';
import type { Page } from 'playwright-core';
import { forkEngine } from '../../bench/engine/client.ts';
import type { CreateOptions } from '../../bench/engine/documents.ts';
import type { Container, Summary } from '../../src/http/shapes.ts';
import { type Browser, startBrowser } from '../helpers/browser.ts';
import { startDockerd } from '../helpers/dockerd.ts';
import { type Change, startEtcd } from '../helpers/etcd.ts';
import { eventually, guardMs } from '../helpers/eventually.ts';
import { freePort, fromDockerd, fromEngine, type Host, type HostOptions, startHost } from '../helpers/host.ts';
import { takePictures } from '../helpers/pictures.ts';
import { needs } from '../helpers/run.ts';
import { amount, isFull, testInFull } from '../helpers/share.ts';

const offering = (advertisement: string, ...ports: string[]): CreateOptions => ({
  env: [`DISCOVER=${advertisement}`],
  ports: ports.map((container) => ({ container })),
});

/** A host whose discover serves the page, and where. */
async function startServing(options: HostOptions): Promise<Host & { readonly url: string }> {
  const port = await freePort();
  const host = await startHost({ ...options, args: ['--http:listen', String(port), ...(options.args ?? [])] });
  return Object.assign(host, { url: `http://127.0.0.1:${port}/` });
}

/** What stands in the rows of the table, cell by cell. */
const rowsOf = (page: Page): Promise<string[][]> =>
  page.evaluate(
    `[...document.querySelectorAll('.rows tbody tr:not(.details)')].map((row) => [...row.cells].map((cell) => cell.textContent))`,
  );

const shown = async (page: Page, rows: readonly (readonly (string | RegExp)[])[]): Promise<void> => {
  await eventually(async () => {
    const found = await rowsOf(page);
    assert.equal(found.length, rows.length, JSON.stringify(found));
    for (const [index, cells] of rows.entries()) {
      for (const [column, cell] of cells.entries()) {
        const text = found[index]?.[column] ?? '';
        if (typeof cell === 'string') assert.equal(text, cell);
        else assert.match(text, cell);
      }
    }
  });
};

const says = (page: Page, text: string | RegExp): Promise<void> =>
  page.getByText(text).first().waitFor({ state: 'visible', timeout: guardMs });

describe('the page', { concurrency: 3, skip: needs('chromium', 'etcd', 'etcdctl') }, () => {
  let browser: Browser;
  before(async () => {
    browser = await startBrowser();
  });
  after(() => browser[Symbol.asyncDispose]());

  test('shows containers as they start and until they die, and what is refused with its reason and remedy (real dockerd, real etcd)', {
    skip: needs('dockerd', 'docker', 'busybox', 'ip', 'root'),
  }, async () => {
    await using dockerd = await startDockerd();
    await using host = await startServing({
      source: fromDockerd(dockerd),
      names: { id: 'host-1', realm: 'production' },
      ttl: 30,
    });
    await using tab = await browser.open(host.url);
    const { page } = tab;
    await says(page, 'No container that runs here advertises a service.');
    const web = await dockerd.run({ env: { DISCOVER: 'web:80,stats:8125/udp' }, ports: [80] });
    const url = `tcp://10.0.0.5:${await dockerd.hostPort(web, '80/tcp')}`;
    const name = (await dockerd.docker('inspect', '--format', '{{.Name}}', web)).trim().replace('/', '');
    await shown(page, [['web', url, new RegExp(`^(${web.slice(0, 12)}|${name})$`), 'published']]);
    const problem = page.getByRole('region', { name: 'Not published' }).getByRole('article');
    const text = await problem.innerText();
    for (const part of [
      'The port is not published',
      'Publish the port when a container is created',
      'stats:8125/udp',
    ]) {
      assert.ok(text.includes(part), text);
    }
    assert.match(text, /8125\/udp is not published; published are 80\/tcp/);

    const api = await dockerd.run({ env: { DISCOVER: 'api:80' }, ports: [80], rm: true });
    await shown(page, [['api'], ['web']]);
    await dockerd.docker('kill', api);
    await shown(page, [['web']]);
    await dockerd.docker('rm', '--force', web);
    await says(page, 'No container that runs here advertises a service.');
    await eventually(async () => assert.equal(await problem.count(), 0));
    tab.assertClean();
  });

  const { SCREENSHOT: pictures } = process.env;
  if (pictures !== undefined) {
    test('takes its pictures (real dockerd, real etcd)', { timeout: 1_800_000 }, async () => {
      await using dockerd = await startDockerd();
      const source = fromDockerd(dockerd);
      const of = (id: string, ip: string) => ({
        ...{ source, names: { id, realm: 'production', ip }, record: false, ttl: 60 },
        args: ['--etcd:meta', 'always', '--host:zone', 'eu-1'],
      });
      await using etcd = await startEtcd();
      await using host = await startServing({ ...of('eu-1a', '10.0.0.5'), etcd });
      await using second = await startHost({ ...of('eu-1b', '10.0.0.6'), etcd });
      await using third = await startHost({ ...of('eu-1c', '10.0.0.7'), etcd });
      // The keys of others that every test has.
      for (const id of ['eu-1a', 'eu-1b', 'eu-1c'])
        for (const kind of ['service/web/default', 'host', 'owner'])
          await etcd.ctl('del', '--prefix', `/discover/${kind}/${id}x`);
      await takePictures(browser, host.url, dockerd, pictures);
      for (const one of [second, third]) await one.terminate();
    });
  }

  test('shows what is hostile as text, and nothing of it runs (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 0 });
    await using host = await startServing({ source: fromEngine(engine), args: ['--discover:namePolicy', 'raw'] });
    await using tab = await browser.open(host.url);
    const { page } = tab;
    const names = [
      '<img src=x onerror=alert(1)>',
      '"><script>alert(2)<' + 'script>',
      `long-${'x'.repeat(120)}`,
      '{{7*7}}',
    ];
    const refused = [
      '<svg onload=alert(3)>/:80',
      '\u202egnp.exe\u2066\u2067/:80',
      `/${'y'.repeat(200)}:80`,
      '\u200b\u0007/\u001b[31m:80',
    ];
    await engine.run([offering([...names.map((name) => `${name}:80`), ...refused].join(), '80/tcp')]);
    // Whoever may write to etcd can write this.
    const foreign = '/discover/service/<b>bold<b>\u202e/default/<i>host<i>\u202e/0123456789ab';
    await host.etcd.ctl('put', foreign, 'tcp://192.0.2.9:9');
    const version = '<img src=x onerror=alert(4)>\u202e';
    await host.etcd.ctl(
      'put',
      '/discover/owner/<i>host<i>\u202e',
      JSON.stringify({ version, ip: version, started: version }),
    );

    await eventually(async () => {
      const found = (await rowsOf(page)).map(([name]) => name);
      assert.deepEqual(found.sort(), [...names].sort());
    });
    const problems = await page.getByRole('region', { name: 'Not published' }).innerText();
    assert.ok(problems.includes('<svg onload=alert(3)>/:80'), problems);
    assert.ok(problems.includes('\ufffdgnp.exe\ufffd\ufffd/:80'), problems);
    assert.doesNotMatch(problems, /[\u202e\u2066\u2067\u200b\u0007\u001b]/);
    await page.locator('[data-row]').first().click();
    await page.getByRole('link', { name: 'Fleet', exact: true }).click();
    await page.getByRole('link', { name: '<i>host<i>\ufffd' }).waitFor();
    const row = (await rowsOf(page)).find(([name]) => name === '<i>host<i>\ufffd');
    assert.deepEqual(row, [
      '<i>host<i>\ufffd',
      'no owner',
      '<img src=x onerror=alert(4)>\ufffd',
      '<img src=x onerror=alert(4)>\ufffd',
      '–',
      '1',
    ]);
    await page.getByRole('link', { name: '<i>host<i>\ufffd' }).click();
    await shown(page, [['<b>bold<b>\ufffd', 'tcp://192.0.2.9:9', 'ready', 'default', '0123456789ab', '–']]);
    for (const width of [1280, 375]) {
      for (const hash of ['#here', '#fleet', '#services', '#fleet/%3Ci%3Ehost%3Ci%3E%E2%80%AE']) {
        await page.setViewportSize({ width, height: 800 });
        await page.goto(`${host.url}${hash}`);
        await page.locator('[data-row]').first().waitFor();
        assert.equal(
          await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
          true,
          `${width} ${hash}`,
        );
        assert.equal(await page.evaluate(`document.querySelectorAll('img, #page script, iframe, b > b, i').length`), 0);
      }
    }
    tab.assertClean();
  });

  testInFull(
    'says since when the connection is lost, comes back by itself, and then shows what is (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 0 });
      await using host = await startServing({ source: fromEngine(engine) });
      await using tab = await browser.open(host.url, { hasClock: true });
      const { page } = tab;
      const state = page.getByRole('banner').getByRole('status');
      const isSaid = (text: string) => eventually(async () => assert.equal(await state.innerText(), text));
      const [gone = ''] = await engine.run([offering('gone:80', '80/tcp'), offering('stays:80', '80/tcp')]);
      await shown(page, [['gone'], ['stays']]);
      await isSaid('Live');

      await host.terminate();
      await isSaid('Connection lost');
      const bar = page.getByText('No connection to discover');
      assert.match(
        await bar.locator('xpath=..').innerText(),
        /since \d+:\d\d:\d\d.*, for \d+ s\. Reconnecting automatically\./,
      );
      // What was there is still to be seen.
      await shown(page, [['gone'], ['stays']]);
      await engine.apply('stop', [gone]);
      await engine.run([offering('new:80', '80/tcp')]);
      await host.launch();
      await isSaid('Live');
      await shown(page, [['new'], ['stays']]);
      assert.equal(await bar.count(), 0);

      // Nobody ends the connection: it is silent. The browser's clock is put forward, discover's stands still.
      host.discover.signal('SIGSTOP');
      await page.clock.fastForward(10_000);
      await isSaid('Connection lost');
      host.discover.signal('SIGCONT');
      await page.clock.fastForward(10_000);
      await isSaid('Live');
      tab.assertClean();
    },
  );

  test('is amber on top as soon as Docker or etcd is away, with the cause and what to do, and the fleet says it is stale (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 1 });
    await using host = await startServing({ source: fromEngine(engine), ttl: 15 });
    await using tab = await browser.open(host.url);
    const { page } = tab;
    const strip = page.getByRole('region', { name: 'Health' });
    const cells = (): Promise<string[]> => strip.locator('li').allInnerTexts();
    const showsOf = async (isAmber: readonly boolean[]): Promise<void> =>
      eventually(async () =>
        assert.deepEqual(
          await page.evaluate(
            `[...document.querySelectorAll('.strip li')].map(({ className }) => className === 'amber')`,
          ),
          isAmber,
        ),
      );
    await showsOf([false, false, false]);
    assert.match(
      (await cells()).join(),
      /Docker connected to engine .*, 1 container runs.*etcd connected.*Lease \d+ s left of 15/s,
    );
    await engine.leave('refusing');
    await showsOf([true, false, false]);
    const why = strip.locator('.explanation');
    for (const part of ['Docker', 'Since', 'Last error', 'Consequence', 'Remedy', 'discover doctor']) {
      assert.ok((await why.innerText()).includes(part), await why.innerText());
    }
    await engine.comeBack({});
    await showsOf([false, false, false]);
    await page.getByRole('link', { name: 'Fleet', exact: true }).click();
    await page.getByRole('link', { name: 'h1', exact: true }).waitFor();
    host.etcd.pause();
    await showsOf([false, true, true]);
    await says(page, /etcd last answered .* ago, showing the last known state/);
    await eventually(async () =>
      assert.equal((await rowsOf(page)).find(([name]) => name === 'h1')?.[1], 'last known alive'),
    );
    await page.getByRole('link', { name: 'This host' }).click();
    await eventually(async () => assert.equal((await rowsOf(page))[0]?.[3], 'unknown'));
    // The summary comes once a second, the state of a container at once.
    await eventually(async () =>
      assert.deepEqual(await page.locator('.figures dd').allInnerTexts(), ['1', 'unknown', 'unknown', '0']),
    );
    assert.deepEqual(await unfit(page), []);
    host.etcd.resume();
    await showsOf([false, false, false]);
    await eventually(async () => assert.equal((await rowsOf(page))[0]?.[3], 'published'));
    tab.assertClean();
  });

  testInFull(
    'lets go of its stream while nobody looks, and takes it up again (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 1 });
      await using host = await startServing({ source: fromEngine(engine) });
      await using tab = await browser.open(host.url, { hasClock: true });
      const { page } = tab;
      const streams = async (): Promise<string | undefined> =>
        /^discover_http_streams (\d+)$/m.exec(await (await fetch(`${host.url}metrics`)).text())?.[1];
      const look = (isHidden: boolean): Promise<unknown> =>
        page.evaluate(`
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => ${isHidden} });
        document.dispatchEvent(new Event('visibilitychange'));
      `);
      await shown(page, [['service-0']]);
      await look(true);
      await page.clock.fastForward(30_000);
      await eventually(async () => assert.equal(await streams(), '1'));
      await page.clock.fastForward(31_000);
      await eventually(async () => assert.equal(await streams(), '0'));
      await engine.run([offering('new:80', '80/tcp')]);
      await look(false);
      await shown(page, [['new'], ['service-0']]);
      await eventually(async () => assert.equal(await streams(), '1'));

      // Hidden while the connection is lost, the page stays without a stream, although the network comes back.
      await look(true);
      await host.terminate();
      await says(page, 'No connection to discover');
      await page.clock.fastForward(61_000);
      await host.launch();
      // The answer comes after the request of a stream would have come.
      await page.evaluate(`dispatchEvent(new Event('online')); fetch('/metrics').then((answer) => answer.text())`);
      assert.equal(await streams(), '0');
      tab.assertClean();
    },
  );

  test('shows the fleet: who writes for each host, and the instances of one (two simulated engines, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 2 });
    await using other = await forkEngine({ containers: 0 });
    await using host = await startServing({ source: fromEngine(engine), record: false });
    // Its neighbours' keys are those of the first one already. What it leaves stays until the page has asked again.
    await using second = await startHost({
      ...{ source: fromEngine(other), etcd: host.etcd, record: false, ttl: 30 },
      names: { id: 'host-2', realm: 'blue', ip: '10.0.0.6' },
    });
    const [first = ''] = await other.run([offering('api:80', '80/tcp')]);
    await using tab = await browser.open(`${host.url}#fleet`);
    const { page } = tab;
    const known = (rows: string[][]): string[][] => rows.filter(([name]) => name === 'h1' || name === 'host-2');
    const { version } = JSON.parse((await host.etcd.get('/discover/owner/')).get('/discover/owner/h1') ?? '') as {
      version: string;
    };
    await eventually(async () => {
      const found = known(await rowsOf(page));
      assert.deepEqual(
        found.map((cells) => cells.filter((_, index) => index !== 4)),
        [
          ['h1', 'alive', '10.0.0.5', version, '2'],
          ['host-2', 'alive', '10.0.0.6', version, '1'],
        ],
      );
      for (const [, , , , age] of found) assert.match(age ?? '', /^\d+ s$/);
    });
    await page.getByRole('link', { name: 'host-2', exact: true }).click();
    await shown(page, [['api', /^tcp:\/\/10\.0\.0\.6:\d+$/, 'ready', 'blue', first.slice(0, 12)]]);
    // Who went there reads on there.
    assert.equal(await page.evaluate('document.activeElement.textContent'), 'host-2');
    await other.run([offering('batch:80', '80/tcp')]);
    await shown(page, [['api'], ['batch']]);
    await page.goBack();
    await second.terminate();
    await eventually(async () =>
      assert.deepEqual(known(await rowsOf(page))[0]?.slice(0, 2), ['host-2', 'stopped cleanly']),
    );
    tab.assertClean();
  });

  testInFull(
    'names containers, images, Compose projects and attributes, finds them, and fits a telephone (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 0 });
      await using host = await startServing({ source: fromEngine(engine) });
      const [one, other] = [1, 2].map((id) => `web/default/by-hand/${String(id).padStart(12, '0')}`);
      const attributes = { version: 'a2', owner: 'a-team-with-a-long-name'.repeat(4), hostile: '<b>x</b>' };
      const compose = { project: 'shop', service: 'front' };
      const meta = {
        weight: 3,
        tags: ['canary'],
        zone: 'eu-1a',
        container: 'web-1',
        image: 'nginx:1.27',
        compose,
        attributes,
      };
      await host.etcd.put(
        new Map([
          [`/discover/service/${one}`, 'tcp://192.0.2.9:1'],
          [`/discover/meta/${one}`, JSON.stringify(meta)],
          [`/discover/service/${other}`, 'tcp://192.0.2.9:2'],
        ]),
      );
      const fleet = `${host.url}#fleet/by-hand`;
      for (const colorScheme of ['light', 'dark'] as const) {
        await using tab = await browser.open(fleet, { colorScheme, viewport: { width: 390, height: 800 } });
        const { page } = tab;
        await shown(page, [
          ['web', 'tcp://192.0.2.9:1', 'ready', 'default', 'web-1', 'nginx:1.27'],
          ['web', /2$/, 'ready', 'default', /2$/, '–'],
        ]);
        await page.locator('[data-row]').first().click();
        const details = await page.locator('.details').innerText();
        for (const part of [
          'web-1',
          'nginx:1.27',
          'shop / front',
          'version=a2',
          'hostile=<b>x</b>',
          'canary',
          'eu-1a',
        ]) {
          assert.ok(details.includes(part), `${part}: ${details}`);
        }
        assert.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true);
        assert.deepEqual(await unfit(page), [], colorScheme);
        for (const words of ['WEB-1', 'nginx', 'shop front', 'version=a2', 'canary eu-1a', 'weight=3']) {
          await page.getByRole('searchbox').fill(words);
          await shown(page, [['web', 'tcp://192.0.2.9:1']]);
        }
        await page.getByRole('searchbox').fill('postgres');
        await says(page, 'No instance fits the filter.');
        tab.assertClean();
      }
    },
  );

  testInFull(
    'names the containers of its host as the agent tells them (simulated engine, real etcd, containers made up)',
    async () => {
      await using engine = await forkEngine({ containers: 0 });
      await using host = await startServing({ source: fromEngine(engine) });
      const { containers: _none, ...summary } = (await (await fetch(`${host.url}status`)).json()) as Summary & {
        readonly containers: readonly Container[];
      };
      const published = (id: string) => ({
        ...{ id, state: 'published', lifecycle: 'ready', refusals: [], outage: null, traffic: null },
        services: [
          { name: 'web', key: `/discover/service/web/default/h1/${id}`, url: `tcp://10.0.0.5:${id}`, published: true },
        ],
      });
      const refusal = { code: 'loopback', entry: 'admin:9000', detail: 'd', remedy: 'r' };
      const set = [
        {
          ...published('1'),
          name: 'shop-web-1',
          image: 'registry.example.com/team/web:2',
          compose: { project: 'shop' },
        },
        { ...published('2'), name: null, image: null, compose: null },
        { ...published('3'), services: [], state: 'refused', name: 'admin-1', image: 'admin:3', refusals: [refusal] },
      ];
      const samples = [595, 590].map((secondsAgo) => ({
        now: new Date(Date.parse(summary.now) - secondsAgo * 1000).toISOString(),
        ...{
          startedAt: summary.startedAt,
          totals: { published: 600 - secondsAgo, unpublished: 0 },
          latency: summary.latency,
        },
      }));
      const events = [
        `event: samples\ndata: ${JSON.stringify({ samples })}`,
        `event: status\ndata: ${JSON.stringify(summary)}`,
        `event: containers\ndata: ${JSON.stringify({ reset: true, set, gone: [] })}`,
      ];
      await using tab = await browser.open('about:blank', { viewport: { width: 390, height: 800 }, isAlone: true });
      const { page } = tab;
      await page.route('**/status?watch', (route) =>
        route.fulfill({ contentType: 'text/event-stream', body: events.map((event) => `${event}\n\n`).join('') }),
      );
      await page.goto(host.url);
      await shown(page, [
        ['web', 'tcp://10.0.0.5:1', 'shop-web-1', 'published', 'registry.example.com/team/web:2'],
        ['web', 'tcp://10.0.0.5:2', '2', 'published', '–'],
      ]);
      assert.match(await page.getByRole('region', { name: 'Not published' }).innerText(), /admin-1\s+admin:3/);
      // The charts show what the agent has kept.
      assert.match((await page.locator('path.up').last().getAttribute('d')) ?? '', /^M0\.83 20V0H1\.5/);
      await page.locator('[data-row]').first().click();
      const details = await page.locator('.details').innerText();
      for (const part of ['shop-web-1', 'registry.example.com/team/web:2', 'shop'])
        assert.ok(details.includes(part), details);
      assert.equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true);
      assert.deepEqual(await unfit(page), []);
      await page.getByRole('searchbox').fill('TEAM/web shop');
      await shown(page, [['web', 'tcp://10.0.0.5:1']]);
      await page.getByRole('searchbox').fill('admin:3');
      await shown(page, []);
      assert.match(await page.getByRole('region', { name: 'Not published' }).innerText(), /admin-1/);
    },
  );

  test('says in two keystrokes where a service runs, and its URL shows another person the same (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 0 });
    await using host = await startServing({ source: fromEngine(engine) });
    const put = (service: string, on: string, number: number): [string, string] => [
      `/discover/service/${service}/default/${on}/${String(number).padStart(12, '0')}`,
      `tcp://192.0.2.9:${number}`,
    ];
    const draining = (number: number) => [
      `/discover/meta/${put('batch', 'eu-4', number)[0].slice('/discover/service/'.length)}`,
      JSON.stringify({ state: 'draining', url: `tcp://192.0.2.9:${number}` }),
    ];
    await host.etcd.put(
      new Map([
        ...['eu-1', 'eu-2', 'eu-3', 'eu-4'].map((on, index) => put('checkout', on, index + 1)),
        ...[put('search', 'eu-1', 11), put('cache', 'eu-1', 12), put('accounts', 'eu-2', 13)],
        ...[put('batch', 'eu-3', 14), draining(15) as [string, string]],
      ]),
    );
    await using tab = await browser.open(host.url, { permissions: ['clipboard-read'] });
    const { page } = tab;
    await says(page, 'No container that runs here advertises a service.');
    await page.keyboard.press('/');
    await page.keyboard.press('c');
    const known = ['accounts', 'batch', 'cache', 'checkout', 'search'];
    const isShown = (rows: readonly (readonly string[])[]): Promise<void> =>
      eventually(async () => {
        const found = (await rowsOf(page)).filter(([name = '']) => known.includes(name));
        assert.deepEqual(
          found.map((cells, index) => cells.slice(0, rows[index]?.length)),
          rows,
        );
      });
    // Names that begin with it come first.
    await isShown([
      ['cache', '1 ready', 'eu-1'],
      ['checkout', '4 ready', 'eu-1, eu-2, eu-3 and 1 more', 'default', '–', '4'],
      ['batch', '1 draining, 1 ready', 'eu-3, eu-4'],
      ['accounts', '1 ready', 'eu-2'],
      ['search'],
    ]);
    assert.equal(new URL(page.url()).hash, '#services?q=c');
    await page.keyboard.press('h');
    await isShown([['checkout'], ['batch'], ['cache'], ['search']]);
    await page.getByRole('button', { name: 'Instances' }).click();
    assert.equal(new URL(page.url()).hash, '#services?q=ch&sort=instances');

    const other = await tab.openBeside();
    await other.goto(page.url());
    await eventually(async () => assert.deepEqual(await rowsOf(other), await rowsOf(page)));
    assert.equal(await other.getByRole('searchbox').inputValue(), 'ch');
    await other.close();

    await page.getByRole('searchbox').fill('');
    await page.getByRole('button', { name: 'State' }).click();
    // The worst first.
    await isShown([['batch'], ['accounts'], ['cache'], ['checkout'], ['search']]);
    await page.getByRole('link', { name: 'batch', exact: true }).click();
    await shown(page, [
      ['tcp://192.0.2.9:15', 'eu-4', 'draining'],
      ['tcp://192.0.2.9:14', 'eu-3', 'ready'],
    ]);
    await page.getByRole('button', { name: 'tcp://192.0.2.9:14' }).click();
    for (const [of, text] of [
      ['key', put('batch', 'eu-3', 14)[0]],
      ['value', 'tcp://192.0.2.9:14'],
    ]) {
      await page.getByRole('button', { name: `Copy ${of}` }).click();
      await eventually(async () => assert.equal(await page.evaluate('navigator.clipboard.readText()'), text));
    }
    await page.locator('.details').getByRole('link', { name: 'eu-3' }).click();
    await shown(page, [['batch'], ['checkout']]);
    tab.assertClean();
  });

  test('has one stream of a browser, however many tabs are open (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 1 });
    await using host = await startServing({ source: fromEngine(engine) });
    const streams = async (): Promise<string | undefined> =>
      /^discover_http_streams (\d+)$/m.exec(await (await fetch(`${host.url}metrics`)).text())?.[1];
    const tab = await browser.open(host.url);
    await shown(tab.page, [['service-0']]);
    const others = await Promise.all([tab.openBeside(), tab.openBeside()]);
    for (const page of others) await shown(page, [['service-0']]);
    assert.equal(await streams(), '1');
    await engine.run([offering('new:80', '80/tcp')]);
    for (const page of [tab.page, ...others]) await shown(page, [['new'], ['service-0']]);
    // Views of the fleet share theirs as well.
    for (const page of others) await page.goto(`${host.url}#services`);
    for (const page of others) await page.getByRole('link', { name: 'new', exact: true }).waitFor();
    assert.equal(await streams(), '2');
    await tab.page.close();
    await engine.run([offering('third:80', '80/tcp')]);
    for (const page of others) await page.getByRole('link', { name: 'third', exact: true }).waitFor();
    await others[0]?.close();
    await others[1]?.goto(`${host.url}#here`);
    await eventually(async () => assert.equal(await streams(), '1'));
    tab.assertClean();
    await tab[Symbol.asyncDispose]();
    await eventually(async () => assert.equal(await streams(), '0'));
    const stream = await fetch(`${host.url}status?watch`, { headers: { 'accept-encoding': 'gzip' } });
    assert.equal(stream.headers.get('content-encoding'), 'gzip');
    await stream.body?.cancel();
  });

  testInFull('can be used by the keyboard alone (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 3 });
    await using host = await startServing({ source: fromEngine(engine) });
    await using tab = await browser.open(host.url);
    const { page } = tab;
    await shown(page, [['service-0'], ['service-1'], ['service-2']]);
    const press = async (...keys: string[]): Promise<unknown> => {
      for (const key of keys) await page.keyboard.press(key);
      return page.evaluate(`(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()`);
    };
    const order: unknown[] = [];
    const columns = await page.locator('.rows thead button').allTextContents();
    assert.deepEqual(columns, ['Service', 'Address', 'Container', 'State↑', 'Image']);
    for (let count = 0; count < columns.length + 6; count++) order.push(await press('Tab'));
    const filter = 'Filter by service, address, container or image';
    assert.deepEqual(order, ['Skip to the content', 'This host', 'Services', 'Fleet', filter, ...columns, 'service-0']);
    assert.equal(await press('ArrowDown'), 'service-1');
    assert.equal(await press('End'), 'service-2');
    assert.equal(await press('ArrowDown'), 'service-2');
    assert.equal(await press('Home'), 'service-0');
    await press('Enter');
    const [id = ''] = (await engine.snapshot()).map((one) => one.id.slice(0, 12));
    await says(page, `/discover/service/service-0/default/h1/${id}`);
    assert.equal(await page.evaluate(`document.activeElement.getAttribute('aria-expanded')`), 'true');

    await press(...columns.map(() => 'Shift+Tab'), 'Enter', 'Enter');
    await shown(page, [['service-2'], ['service-1'], ['service-0']]);
    assert.equal(await page.evaluate(`document.activeElement.closest('th').ariaSort`), 'descending');
    assert.equal(await press('Shift+Tab'), filter);
    await page.keyboard.type('SERVICE 32769');
    await shown(page, [['service-1']]);
    await eventually(async () =>
      assert.equal(await page.getByRole('search').getByRole('status').innerText(), '1 service, 0 not published'),
    );
    await page.keyboard.type('x');
    await says(page, 'No service fits the filter.');
    tab.assertClean();
  });

  test('is found fit by axe in light and dark, in each state it can be in (simulated engine, real etcd)', async () => {
    await using engine = await forkEngine({ containers: 3 });
    await using host = await startServing({ source: fromEngine(engine) });
    await engine.run([offering('web:80,no/name:80', '80/tcp')]);
    const open = (page: Page): Promise<void> => page.locator('[data-row]').first().click();
    const lists = (page: Page, name: string): Promise<void> => page.getByRole('link', { name, exact: true }).waitFor();
    const views: [string, (page: Page) => Promise<unknown>][] = [
      ['#here', open],
      ['#services', (page) => lists(page, 'service-0')],
      ['#services/service-0', open],
      ['#fleet', (page) => lists(page, 'h1')],
      ['#fleet/h1', open],
    ];
    await using light = await browser.open(host.url, { colorScheme: 'light' });
    await using dark = await browser.open(host.url, { colorScheme: 'dark' });
    for (const { page } of [light, dark]) {
      for (const [hash, make] of amount(views.slice(0, page === light.page ? 3 : 1), views)) {
        await page.goto(`${host.url}${hash}`);
        await make(page);
        for (const width of [1440, 1024, 390]) {
          await page.setViewportSize({ width, height: 900 });
          assert.equal(
            await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
            true,
            `${hash} ${width}`,
          );
          if (width !== 1024 || isFull) assert.deepEqual(await unfit(page), [], `${hash} ${width}`);
        }
      }
    }
    light.assertClean();
    dark.assertClean();
    await host.terminate();
    for (const { page } of [light, dark]) {
      await says(page, 'Connection lost');
      assert.deepEqual(await unfit(page), [], 'lost');
    }
  });

  const [many, some] = amount([1_000, 'service-77'], [10_000, 'service-777']);
  testInFull(`stays usable with ${many} instances (simulated engine, real etcd)`, async () => {
    await using engine = await forkEngine({ containers: many });
    await using host = await startServing({ source: fromEngine(engine), record: false, ttl: 60 });
    await eventually(async () => assert.equal((await host.held()).size, 2 * many), { everyMs: 500 });
    await using tab = await browser.open(host.url);
    const { page } = tab;
    await says(page, `1–100 of ${many.toLocaleString('en')}`);
    assert.equal((await rowsOf(page)).length, 100);
    await page.getByRole('button', { name: 'Next' }).click();
    await eventually(async () => assert.deepEqual((await rowsOf(page))[0]?.[0], 'service-100'));
    for (let times = 0; times < 2; times++) {
      await page.getByRole('button', { name: 'Service', exact: true }).click();
    }
    await eventually(async () => assert.deepEqual((await rowsOf(page))[0]?.[0], `service-${many - 1}`));
    await page.getByRole('searchbox').fill(some);
    await eventually(async () => {
      const names = (await rowsOf(page)).map(([name]) => name);
      assert.deepEqual(names, [...Array.from({ length: 10 }, (_, index) => `${some}${9 - index}`), some]);
    });
    assert.ok(Number(await page.evaluate(`document.querySelectorAll('*').length`)) < 3_000);
    // The services of the fleet are one more: that of a neighbour.
    for (const [hash, rows] of [
      ['#fleet/h1', many],
      ['#services', many + 1],
    ] as const) {
      await page.goto(`${host.url}${hash}`);
      await says(page, `1–100 of ${rows.toLocaleString('en')}`);
      assert.equal((await rowsOf(page)).length, 100);
    }
    await page.keyboard.press('/');
    await page.keyboard.type(some);
    await eventually(async () => assert.equal((await rowsOf(page))[0]?.[0], some));
    tab.assertClean();
  });

  testInFull('stays usable with 70,000 instances in the fleet (simulated engine, real etcd)', async (t) => {
    const [hosts, services] = [350, 1_000];
    const perHost = 70_000 / hosts;
    const entryOf = (instance: number, port: number): [string, string] => {
      const key = `service-${instance % services}/default/fleet-${Math.floor(instance / perHost)}`;
      return [`/discover/service/${key}/${String(instance).padStart(12, '0')}`, `tcp://10.1.0.1:${port}`];
    };
    await using engine = await forkEngine({ containers: 5 });
    const etcdOptions = { args: ['--max-txn-ops=5000'] };
    await using host = await startServing({ source: fromEngine(engine), record: false, ttl: 60, etcdOptions });
    for (let first = 0; first < 70_000; first += 5_000) {
      const entries = Array.from({ length: 5_000 }, (_, index) => entryOf(first + index, 20_000));
      await host.etcd.put(new Map(entries));
    }
    await using tab = await browser.open(`${host.url}#here`);
    const { page } = tab;
    await says(page, 'service-4');
    const timed = async (what: string, done: () => Promise<unknown>): Promise<void> => {
      const began = performance.now();
      await done();
      t.diagnostic(`${what}: ${(performance.now() - began).toFixed(0)} ms`);
    };
    // That of a neighbour is one more.
    await timed('all services shown', async () => {
      await page.goto(`${host.url}#services`);
      await says(page, `1–100 of ${(services + 1).toLocaleString('en')}`);
    });
    const typed = async (text: string, first: string): Promise<void> => {
      await page.keyboard.press('/');
      await page.keyboard.type(text);
      await eventually(async () => assert.equal((await rowsOf(page))[0]?.[0], first), { everyMs: 5 });
    };
    await timed('a service found by its name', () => typed('service-777', 'service-777'));
    await timed('its instances shown', async () => {
      await page.goto(`${host.url}#services/service-777`);
      await says(page, /fleet-3\b/);
    });
    assert.equal((await rowsOf(page)).length, 70);
    await timed('a change of one of them shown', async () => {
      await host.etcd.put(new Map([entryOf(777, 20_777)]));
      await says(page, 'tcp://10.1.0.1:20777');
    });
    await timed('all hosts shown', async () => {
      await page.goto(`${host.url}#fleet`);
      await says(page, /fleet-99\b/);
    });
    await timed('the instances of one shown', async () => {
      await page.goto(`${host.url}#fleet/fleet-349`);
      await says(page, `1–100 of ${perHost}`);
    });
    assert.ok(Number(await page.evaluate(`document.querySelectorAll('*').length`)) < 3_000);
    tab.assertClean();
  });

  testInFull(
    'agrees with etcd, as /status does, once 50 containers a second have come and gone (simulated engine, real etcd)',
    async () => {
      await using engine = await forkEngine({ containers: 10 });
      await using host = await startServing({ source: fromEngine(engine) });
      await using tab = await browser.open(host.url);
      const { page } = tab;
      await shown(
        page,
        Array.from({ length: 10 }, (_, index) => [`service-${index}`]),
      );
      await engine.churn({ rate: 50, seconds: 4, lifetimeMs: 500, survivors: 0.2 });
      await host.converged();
      const held = [...(await host.held())].filter(([key]) => key.startsWith('/discover/service/'));
      const wanted = held.map(([key, url]) => [key.split('/')[3], url, 'published'].join(' ')).sort();
      assert.equal(wanted.length, 50);
      await eventually(async () =>
        assert.deepEqual(
          (await rowsOf(page)).map(([name, url, , state]) => [name, url, state].join(' ')).sort(),
          wanted,
        ),
      );
      const status = (await (await fetch(`${host.url}status`)).json()) as Summary & {
        readonly containers: readonly Container[];
      };
      const told = status.containers.flatMap(({ services }) =>
        services.map(({ name, url, published }) => [name, url, published ? 'published' : ''].join(' ')),
      );
      assert.deepEqual(told.sort(), wanted);
      // Its figures follow once a second.
      await eventually(async () =>
        assert.deepEqual(await page.locator('.figures dd').allInnerTexts(), ['50', '50', '50', '0']),
      );
      // What etcd has seen: a container that was over before it was inspected is no publication.
      const records = (await host.changesSince(0)).filter(({ key }) => key.startsWith('/discover/host/'));
      const countOf = (kind: Change['kind']): number => records.filter((change) => change.kind === kind).length;
      assert.deepEqual([status.totals.published, status.totals.unpublished], [countOf('put'), countOf('delete')]);
      assert.ok(countOf('put') > 50 && countOf('put') - countOf('delete') === 50, 'None has come and gone');
      await says(page, /published,.*withdrawn a second/);
      tab.assertClean();
    },
  );
});

/** What axe finds wrong, however small: the rule and where. */
async function unfit(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<AxeResults>('axe.run()');
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}
