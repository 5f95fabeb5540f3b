/**
 * A real browser, Debian's Chromium without a window, and pages in it that keep what a test must know of them:
 * every address they asked for, and everything that they, or the browser on their behalf, complained about.
 */
import assert from 'node:assert/strict';
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { guardMs } from './eventually.ts';
import { requireCommand } from './run.ts';

export interface Tab extends AsyncDisposable {
  readonly page: Page;
  /** Opens another tab of the same browser. */
  openBeside(): Promise<Page>;
  /** Throws unless all was asked of where the page is from, no script of a stranger ran, and nothing was refused. */
  assertClean(): void;
}

export interface TabOptions extends BrowserContextOptions {
  /**
   * The test may put the clock of the page forward. From the beginning, because a timer that is set before would stay the
   * browser's own, and the page could not clear it.
   */
  readonly hasClock?: boolean;
  /** The page has event streams of its own, and shares none with other tabs. So it is with `hasClock`: a worker has another clock. */
  readonly isAlone?: boolean;
}

export interface Browser extends AsyncDisposable {
  open(url: string, options?: TabOptions): Promise<Tab>;
}

export async function startBrowser(): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: requireCommand('chromium') });
  return {
    open: async (url, { hasClock = false, isAlone = hasClock, ...options } = {}) => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
      context.setDefaultTimeout(guardMs);
      const page = await context.newPage();
      const requests: string[] = [];
      const complaints: string[] = [];
      page.on('request', (request) => requests.push(request.url()));
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('dialog', (dialog) => {
        complaints.push(`dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      page.on('console', (message) => {
        // What a test does to discover, the browser says as well.
        if (!/net::ERR_|status of 503/.test(message.text())) complaints.push(message.text());
      });
      await page.addInitScript(
        `addEventListener('securitypolicyviolation', (event) => console.error('refused: ' + event.violatedDirective))`,
      );
      if (isAlone) await page.addInitScript('delete globalThis.SharedWorker');
      if (hasClock) await page.clock.install();
      await page.goto(url);
      return {
        page,
        openBeside: async () => {
          const other = await context.newPage();
          await other.goto(url);
          return other;
        },
        assertClean: () => {
          assert.deepEqual(complaints, []);
          assert.ok(requests.length >= 3, 'The page, its script and its style');
          const { origin } = new URL(url);
          assert.deepEqual(
            requests.filter((request) => !request.startsWith(`${origin}/`) && !request.startsWith('data:')),
            [],
          );
        },
        [Symbol.asyncDispose]: () => context.close(),
      };
    },
    [Symbol.asyncDispose]: () => browser.close(),
  };
}
