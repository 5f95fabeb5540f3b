/** The files of the page. The built page is in `dist`, also when this file runs from `src`. */

import { readInPackage } from '../version.ts';
import type { Body } from './answers.ts';

function asset(name: string, type: string) {
  let body: Body | undefined;
  const read = (): Body => {
    try {
      return [readInPackage(`dist/page/${name}`)];
    } catch {
      return [Buffer.from('The page has not been built.\n')];
    }
  };
  return {
    type,
    body: (): Body => {
      body ??= read();
      return body;
    },
  };
}

/** By the path. */
export const assets: ReadonlyMap<string, ReturnType<typeof asset>> = new Map([
  ['/', asset('index.html', 'text/html; charset=utf-8')],
  ['/page.js', asset('page.js', 'text/javascript; charset=utf-8')],
  ['/worker.js', asset('worker.js', 'text/javascript; charset=utf-8')],
  ['/page.css', asset('page.css', 'text/css; charset=utf-8')],
]);
