/**
 * The pictures of deploy/monitoring.md: three hosts that read one real engine, with what a small host has. Containers stay, some
 * are refused, one is unhealthy, and others come and go for as long as the charts show.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser } from './browser.ts';
import type { ContainerOptions } from './docker-run.ts';
import type { Dockerd } from './dockerd.ts';

const minute = 60_000;
/** As long as the charts show. */
const churnMs = 10 * minute;

type Staying = readonly [name: string, image: string, advertisement: string, ports: readonly (number | string)[]];

const staying: readonly Staying[] = [
  ['shop-web-1', 'shop/web:2.4', 'web:80', [80]],
  ['shop-web-2', 'shop/web:2.4', 'web:80', [80]],
  ['shop-api-1', 'shop/api:2.4', 'api:3000,metrics:9100', [3000, 9100]],
  ['shop-api-2', 'shop/api:2.5', 'api:3000,metrics:9100', [3000, 9100]],
  ['shop-checkout-1', 'shop/checkout:1.9', 'checkout:8080', [8080]],
  ['search-1', 'search:9.1', 'search:9200', [9200]],
  ['dns-1', 'dns:1.11', 'dns:53,dns:53/udp', [53, '53/udp']],
  ['sessions-1', 'sessions:7', 'sessions:6379', [6379]],
  ['mailer-1', 'mailer:3', 'mailer:25,stats:8125/udp', [25]],
  ['reports-1', 'reports:12', 'reports:8080,admin:9000', [8080, '127.0.0.1::9000']],
];

async function start(dockerd: Dockerd, base: string): Promise<void> {
  const run = async (image: string, options: ContainerOptions): Promise<void> => {
    await dockerd.docker('tag', base, image);
    await dockerd.run({ ...options, image });
  };
  for (const [name, image, advertisement, ports] of staying) {
    const labels = { 'discover.web.weight': name.endsWith('2') ? '1' : '10' };
    await run(image, { name, env: { DISCOVER: advertisement }, ports, labels: image === 'shop/web:2.4' ? labels : {} });
  }
  const args = ['--health-cmd', 'false', '--health-interval', '1s', '--health-retries', '1'];
  await run('shop/api:2.5', { name: 'shop-api-3', env: { DISCOVER: 'api:3000' }, ports: [3000], args });
}

async function churn(dockerd: Dockerd): Promise<void> {
  for (let turn = 0, untilMs = Date.now() + churnMs; Date.now() < untilMs; turn++) {
    const names = ['batch', 'thumbnails', 'import'].slice(0, 1 + (turn % 5) / 2);
    const started = names.map((name) => dockerd.run({ env: { DISCOVER: `${name}:80` }, ports: [80], rm: true }));
    const ids = await Promise.all(started);
    await sleep(turn % 9 === 0 ? 12_000 : 1_500);
    await dockerd.docker('kill', ...ids);
  }
}

/** `url` is that of one of the hosts; its pictures go to the directory, with names of view, width and colours. */
export async function takePictures(browser: Browser, url: string, dockerd: Dockerd, directory: string): Promise<void> {
  await start(dockerd, await dockerd.image());
  await churn(dockerd);
  for (const width of [1200, 1440, 1024, 390]) {
    for (const colorScheme of ['light', 'dark'] as const) {
      const viewport = { width, height: width === 1200 ? 772 : 900 };
      await using tab = await browser.open(url, { colorScheme, deviceScaleFactor: 1, viewport });
      const { page } = tab;
      for (const hash of ['here', 'services', 'services/api', 'fleet', 'fleet/eu-1a']) {
        await page.goto(`${url}#${hash}`);
        await page.locator('[data-row]').first().waitFor();
        if (hash === 'services/api') await page.locator('[data-row]').first().click();
        const name = `${hash.replace('/', '-')}-${width}-${colorScheme}.png`;
        await page.screenshot({ path: path.join(directory, name), fullPage: width === 390 });
      }
    }
  }
}
