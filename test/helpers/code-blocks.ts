/**
 * Who runs each block of code of the documents: for each document its blocks in their order, by the beginning of their
 * first line. A test file reads the block and runs it, or compares. `same`: a test does the same with names of its own.
 * `shown` is a picture, a form or an output. `why not` says why it cannot be run here.
 */
type Run = readonly [start: string, by: `test/${string}` | `${'same' | 'shown' | 'why not'}: ${string}`];

const readme = 'test/unit/readme.test.ts';
const howtos = 'test/integration/howtos.integration.test.ts';
const zero = 'test/integration/etcd-from-zero.integration.test.ts';
const etcdctl = 'test/integration/readme.integration.test.ts';
const image = 'test/integration/image.slow.ts';
const programs = 'test/integration/package.integration.test.ts';
const migrate = 'test/integration/migrate.integration.test.ts';

const unpublished = 'no registry has another version; howtos.integration.test.ts replaces one by another without npm';

export const runs: Readonly<Record<string, readonly Run[]>> = {
  'README.md': [
    ['/discover/service/<name>', 'shown: the form of a key'],
    ['Docker Engine', 'shown: a picture'],
    ['npm run demo', 'same: test/integration/demo.integration.test.ts'],
    ['npm install -g docker-discover', 'test/integration/systemd.slow.ts'],
    ['discover --config config.json', readme],
    ['ENV DISCOVER static-web-server', readme],
    ['docker run -d -p 8080', 'same: test/integration/walk.integration.test.ts'],
    ['$ ETCDCTL_API=3 etcdctl get', etcdctl],
    ['ENV DISCOVER web:8080', readme],
    ['docker run -d -p 80 --label', readme],
    ['import { setTimeout', 'test/integration/finding-services.integration.test.ts'],
    ['discover ls static-web-server', howtos],
    ['import { startAgent }', 'same: test/integration/library.integration.test.ts'],
    ['npm test', 'why not: it runs this test'],
  ],
  '.github/ARCHITECTURE.md': [
    ['Docker Engine', 'shown: a picture'],
    ['flowchart TD', 'test/unit/layering.test.ts'],
  ],
  '.github/CONTRIBUTING.md': [
    ['git clone', 'why not: the clone is the one that runs this test'],
    ['node --import ./test/loader.mjs --test test/unit/mailbox', 'why not: it is how this test is run as well'],
    ['.ci/run', 'why not: it runs this test'],
    ['inspector: keep', 'shown: the form of a commit message'],
  ],
  '.github/MIGRATING.md': [
    ['ETCDCTL_API=3 etcdctl get --prefix /discover', etcdctl],
    ['curl ', `same: ${migrate}`],
    ['discover --discover:sources', 'same: test/integration/views.integration.test.ts'],
    ['/discover/service/web', 'shown: a key'],
    ['ETCDCTL_API=3 etcdctl get --prefix --print', etcdctl],
    ['discover --etcd:endpoints', etcdctl],
    ['discover migrate --from registrator', `same: ${migrate}`],
  ],
  '.github/RELEASING.md': [
    ['   .ci/run', 'why not: it runs this test'],
    ['   mkdir /tmp/new', 'why not: it asks the registry for a version that has been published'],
  ],
  '.github/SECURITY.md': [
    ['etcdctl role add', zero],
    ['^(/v1', readme],
  ],
  'bench/README.md': [
    ['npm run bench  ', 'same: test/integration/bench.integration.test.ts'],
    ['npm run bench -- churn', 'same: test/unit/bench.test.ts'],
    ['npm run bench -- churn --peer', 'same: test/integration/bench.integration.test.ts'],
    ['#!/usr/bin/env node', 'test/integration/bench.integration.test.ts'],
    ['npm run bench -- guard', 'same: test/integration/bench.integration.test.ts'],
    ['npm run soak', 'same: test/integration/soak.integration.test.ts'],
  ],
  'deploy/README.md': [
    ['npm install -g docker-discover', 'test/integration/systemd.slow.ts'],
    ['sudo discover init', 'same: test/unit/init.test.ts'],
    ['export DISCOVER_HOST_IP', `same: ${image}`],
    ['discover maintenance on web-1', 'same: test/integration/maintenance.integration.test.ts'],
    ['discover maintenance on --host', howtos],
  ],
  'deploy/engines.md': [
    ['services:', readme],
    ['docker service create', readme],
    ['systemctl enable --now podman.socket', 'same: test/integration/podman.integration.test.ts'],
    ['dockerd --host', 'same: test/integration/docker-tls.integration.test.ts'],
    ['discover --docker:host', 'same: test/integration/docker-tls.integration.test.ts'],
    ['discover --host:id host-1-shop', 'same: test/integration/filter.integration.test.ts'],
  ],
  'deploy/etcd.md': [
    ['openssl req', zero],
    ['name: etcd-1', zero],
    ['export ETCDCTL_API=3', zero],
    ['etcdctl user add root', zero],
    ['{', zero],
    ['revision=', zero],
    ['etcdctl member remove', zero],
  ],
  'deploy/fleet.md': [
    ['{', howtos],
    ['sudo install -m 644', howtos],
    ['discover reap', howtos],
  ],
  'deploy/packages.md': [
    ['npm run package', 'same: test/integration/packages.integration.test.ts'],
    ['sudo apt-get install', 'same: test/integration/packages.slow.ts'],
    ['./discover-linux-amd64 demo', 'same: test/integration/packages.integration.test.ts'],
    ['docker build', `same: ${image}`],
    ['docker run --detach', `same: ${image}`],
  ],
  'deploy/monitoring.md': [
    ['discover --http.relay', 'same: test/integration/relay.integration.test.ts'],
    ['scrape_configs:', readme],
    ['docker run -d -p 80', readme],
  ],
  'deploy/readers.md': [
    ['sh deploy/examples/reader.sh', zero],
    ['etcdctl get --prefix', howtos],
    ['DELETE', howtos],
  ],
  'deploy/troubleshooting.md': [
    ['discover why my-container', 'same: test/integration/why.integration.test.ts'],
    ['yes  container:', 'shown: an output; its time is left as it was'],
  ],
  'deploy/upgrade.md': [
    ['sudo npm install -g docker-discover', `why not: ${unpublished}`],
    ['sudo npm install -g docker-discover@', `why not: ${unpublished}`],
  ],
  'deploy/examples/README.md': [['discover watch web api', 'same: test/integration/watch.integration.test.ts']],
  'src/client/README.md': [
    ['import { DiscoverClient, discoverFetch }', howtos],
    ['npm init -y', `same: ${programs}`],
    ['// balancer.js', programs],
    ['// greet.js', programs],
    ['// greeter.proto', programs],
    ['// upstream.js', programs],
    ['for await', howtos],
    ['const client = new', howtos],
    ['import { registerDiscoverResolver }', howtos],
    ['package main', 'why not: the tests have no Go; grpc.integration.test.ts reads its service configuration'],
  ],
  'src/container/README.md': [
    ['"discover": {', readme],
    ['"docker": {', readme],
  ],
  'src/dns/README.md': [
    ['discover --dns:listen', readme],
    ['# dnsmasq', 'why not: dnsmasq, systemd-resolved and unbound are not installed; HAProxy is run with its example'],
  ],
  'src/layout/README.md': [
    ['/discover/service/web', 'shown: two keys'],
    ['{"privatePort"', 'shown: a value'],
  ],
  'src/net/README.md': [['npm run bench -- transport', 'same: test/unit/bench.test.ts']],
  'test/README.md': [['npm test', 'why not: it runs this test']],
  'test/fixtures/README.md': [
    ['npm run test:engines', 'why not: it writes the recorded answers anew, on both sets of engines'],
  ],
};
