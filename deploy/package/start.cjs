/**
 * The entry of the program that is a single file. Node runs this script, and its modules come from inside the program.
 *
 * Modules have addresses below a folder that exists nowhere. Only what they import there is looked up in the program: packages and files of the
 * machine are found, or not, as ever. Every thread of the pool begins the same way.
 */
const { getAsset } = require('node:sea');
const { registerHooks } = require('node:module');

const home = 'file:///discover/';

function serve(registerHooks, getAsset, home) {
  const isOurs = (url) => url?.startsWith(home) === true;
  registerHooks({
    resolve(specifier, context, next) {
      const isBeside = isOurs(context.parentURL) && /^\.\.?\//.test(specifier);
      const url = isBeside ? new URL(specifier, context.parentURL).href : specifier;
      return isOurs(url) ? { url, format: 'module', shortCircuit: true } : next(specifier, context);
    },
    load(url, context, next) {
      if (!isOurs(url)) return next(url, context);
      return { format: 'module', source: getAsset(url.slice(home.length), 'utf8'), shortCircuit: true };
    },
  });
}

const thread = `
import { registerHooks } from 'node:module';
import { getAsset } from 'node:sea';
(${serve})(registerHooks, getAsset, '${home}');
await import('${home}dist/thread.js');`;
globalThis.discoverThread = new URL(`data:text/javascript,${encodeURIComponent(thread)}`);

serve(registerHooks, getAsset, home);
// A script in a single executable may import nothing but modules of Node; a function made from text may.
new Function(`return import('${home}dist/cli.js')`)();
