/**
 * `npm run package [-- file deb] [--arch amd64,arm64] [--out packages]`: what is released beside the package of npm.
 *
 * `file` is the program as one file, with the licences of all that is in it beside it, `deb` the package for Debian and Ubuntu. Without a name both are made, for the architecture of this
 * machine. Any machine makes those of both. `dist` has to be built. `--fast` leaves the deb uncompressed, and `--version` gives it another version, for tests.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../../src/bundle.mjs';
import { makeDeb } from './deb.mjs';
import { architectures } from './node.mjs';
import { prepare } from './program.mjs';

const kinds = ['file', 'deb'];
const own = Object.entries(architectures).find(([, node]) => node === process.arch)?.[0] ?? 'amd64';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    arch: { type: 'string', default: own },
    out: { type: 'string', default: path.join(root, 'packages') },
    version: { type: 'string', default: JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).version },
    fast: { type: 'boolean', default: false },
  },
});
const chosen = positionals.length > 0 ? positionals : kinds;
const wanted = values.arch.split(',');
refuseOthers('package', chosen, kinds);
refuseOthers('--arch', wanted, Object.keys(architectures));

const { licencesFor, texts, writeProgram } = await prepare();
for (const arch of wanted) {
  const program = path.join(values.out, `discover-linux-${arch}`);
  writeProgram(architectures[arch], program);
  const licences = licencesFor(architectures[arch]);
  writeFileSync(`${program}.LICENSES`, licences);
  report(program);
  if (!chosen.includes('deb')) continue;
  const rest = { version: values.version.replace('-', '~'), epoch: epochOf(), out: values.out };
  const compression = values.fast ? ['-Znone'] : ['-Zxz', '-z6'];
  report(makeDeb({ arch, program, licences, texts, compression, ...rest }));
}

function refuseOthers(what, given, allowed) {
  const other = given.find((one) => !allowed.includes(one));
  if (other === undefined) return;
  console.error(`${what} must be one of ${allowed.join(', ')}, got "${other}"`);
  process.exit(64);
}

/** The time of the commit, so that the same commit makes the same file. */
function epochOf() {
  if (process.env.SOURCE_DATE_EPOCH) return Number(process.env.SOURCE_DATE_EPOCH);
  try {
    return Number(execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' }));
  } catch {
    return Math.floor(statSync(path.join(root, 'package.json')).mtimeMs / 1000); // not a checkout
  }
}

function report(file) {
  console.log(`${path.relative(process.cwd(), file)}  ${(statSync(file).size / 1e6).toFixed(1)} MB`);
}
