/**
 * The package for Debian and Ubuntu: the program with its own Node, a unit of systemd, completion and a man page.
 *
 * The package has no file in `/etc`: where that cannot be written, it can be installed all the same. `discover init` writes the
 * configuration, and the scripts of `debian/` say what they leave undone, and why. `dpkg-deb` is all it takes; two runs make the same file.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { root } from '../../src/bundle.mjs';
import { manPage } from './man.mjs';

const name = 'docker-discover';
const own = (file) => path.join(import.meta.dirname, 'debian', file);
const read = (file) => readFileSync(path.join(root, file), 'utf8');
/**
 * Writes the package and gives its path. `program` is the file for this architecture, `version` that of the package, `epoch` the time of
 * everything in it, in seconds, and `compression` what dpkg-deb is told.
 */
export function makeDeb({ arch, program, licences, texts, version, epoch, out, compression }) {
  const top = mkdtempSync(path.join(os.tmpdir(), 'discover-deb-'));
  try {
    chmodSync(top, 0o755);
    const date = new Date(epoch * 1000);
    for (const [file, content, mode] of contents({ licences, texts, version, date })) put(top, file, content, mode);
    mkdirSync(path.join(top, 'usr/bin'), { recursive: true });
    copyFileSync(program, path.join(top, 'usr/bin/discover'));
    chmodSync(path.join(top, 'usr/bin/discover'), 0o755);
    const files = below(top);
    const size = Math.ceil(files.reduce((sum, file) => sum + statSync(path.join(top, file)).size, 0) / 1024);
    const sums = files.map(
      (file) =>
        `${createHash('md5')
          .update(readFileSync(path.join(top, file)))
          .digest('hex')}  ${file}\n`,
    );
    put(top, 'DEBIAN/md5sums', sums.sort((a, b) => (a.slice(34) < b.slice(34) ? -1 : 1)).join(''));
    put(top, 'DEBIAN/control', controlOf({ arch, version, size }));
    for (const script of ['postinst', 'prerm', 'postrm'])
      put(top, `DEBIAN/${script}`, readFileSync(own(script)), 0o755);
    for (const file of readdirSync(top, { recursive: true })) utimesSync(path.join(top, file), epoch, epoch);

    mkdirSync(out, { recursive: true });
    const deb = path.join(out, `${name}_${version}_${arch}.deb`);
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(epoch) };
    execFileSync('dpkg-deb', ['--root-owner-group', ...compression, '--build', top, deb], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return deb;
  } finally {
    rmSync(top, { recursive: true, force: true });
  }
}

/** Every file but the program: where, what, and with which mode. */
function contents({ licences, texts, version, date }) {
  const zipped = (text) => gzipSync(text, { level: 9 });
  const share = `usr/share/doc/${name}`;
  return [
    ['usr/lib/systemd/system/discover.service', unit()],
    ['usr/share/bash-completion/completions/discover', texts.bash],
    ['usr/share/zsh/vendor-completions/_discover', texts.zsh],
    [
      'usr/share/man/man1/discover.1.gz',
      zipped(manPage({ version, date: date.toISOString().slice(0, 10), helps: texts.helps })),
    ],
    [`${share}/copyright`, copyright()],
    [`${share}/LICENSES.gz`, zipped(licences)],
    [`${share}/changelog.gz`, zipped(changelog(version, date))],
    [`${share}/CHANGELOG.md.gz`, zipped(read('CHANGELOG.md'))],
    [`${share}/README.md.gz`, zipped(read('README.md'))],
    [`${share}/examples/config.json`, read('config.example.json')],
    [`${share}/examples/prometheus-rules.yaml`, read('deploy/prometheus-rules.yaml')],
    [`${share}/examples/grafana-dashboard.json`, read('deploy/grafana-dashboard.json')],
    [`usr/share/lintian/overrides/${name}`, readFileSync(own('lintian-overrides'))],
  ];
}

/** The unit of `deploy`, for the program of the package; without a configuration it is not started, which is no failure. */
function unit() {
  const text = read('deploy/discover.service');
  const changes = [
    [/^# discover under systemd .*\n/m, ''],
    [/^(Documentation=)/m, '$1man:discover(1) '],
    [/^StartLimitIntervalSec=0$/m, '$&\n# discover init writes it.\nConditionPathExists=/etc/discover/config.json'],
    [/^ExecStart=discover /m, 'ExecStart=/usr/bin/discover '],
  ];
  return changes.reduce((changed, [from, to]) => {
    if (!from.test(changed)) throw new Error(`discover.service does not have ${from}`);
    return changed.replace(from, to);
  }, text);
}

/** As Debian's own tools find it, where package.json has none. */
function maintainer() {
  const { author } = JSON.parse(read('package.json'));
  const { DEBFULLNAME, DEBEMAIL } = process.env;
  if (typeof author === 'string') return author.replace(/ *\(.*\)$/, '');
  if (author?.email) return `${author.name} <${author.email}>`;
  return `${DEBFULLNAME ?? 'discover'} <${DEBEMAIL ?? `discover@${os.hostname()}`}>`;
}

function controlOf({ arch, version, size }) {
  const { description } = JSON.parse(read('package.json'));
  return `Package: ${name}
Version: ${version}
Architecture: ${arch}
Maintainer: ${maintainer()}
Installed-Size: ${size}
Section: admin
Priority: optional
Depends: libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 8), passwd
Suggests: docker.io | docker-ce | podman, etcd-server
Conflicts: discover
Homepage: https://www.npmjs.com/package/docker-discover
Description: ${short(description)}
 discover publishes the services of the containers of a host to etcd, and keeps
 what is there true: the addresses of containers that run, and of no others.
 .
 Services are found by DNS, by HTTP, in etcd, and by the command discover.
 The package brings its own Node and needs no other.
`;
}

/** A synopsis begins in lower case and is short. */
const short = (text) => text.split(':', 1)[0].replace(/^S/, 's');

function copyright() {
  const text = read('LICENSE').trim();
  const [, holder = 'the authors of discover'] = /^Copyright (?:\(c\) )?(.*)$/im.exec(text) ?? [];
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: discover

Files: *
Copyright: ${holder}
License: Expat
${folded(text)}

Files: usr/bin/discover
Copyright: ${holder}, the authors of Node and of other packages
License: several
 Node and other packages are in the program. LICENSES.gz beside this file has their
 names, versions and licences.
`;
}

/** A field of several lines. */
const folded = (text) =>
  text
    .replaceAll('\r', '')
    .split('\n')
    .map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`))
    .join('\n');

/** For dpkg: what changed for users is in CHANGELOG.md. */
function changelog(version, date) {
  const day = date.toUTCString().replace('GMT', '+0000');
  return `${name} (${version}) stable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- ${maintainer()}  ${day}\n`;
}

function put(top, file, content, mode = 0o644) {
  const target = path.join(top, file);
  mkdirSync(path.dirname(target), { recursive: true, mode: 0o755 });
  writeFileSync(target, content);
  chmodSync(target, mode);
}

const below = (top) =>
  readdirSync(top, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(top, path.join(entry.parentPath, entry.name)));
