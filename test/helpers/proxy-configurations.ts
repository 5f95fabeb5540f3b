/**
 * Configurations of proxies, with the lines that `deploy/proxies.md` gives for each: before Docker and before etcd, on a
 * port of loopback, with TLS on both sides of etcd's and on the side of discover of Docker's.
 *
 * The time limits are a few seconds here, so that what is idle is cut while a test waits.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Authority, type Certificate, createAuthority } from './certificates.ts';
import { type ProxyProgram, startGrpcProxy, startHaproxy, startNginx } from './proxy-programs.ts';

const read = (file: string): string =>
  readFileSync(path.join(fileURLToPath(new URL('../../deploy', import.meta.url)), file), 'utf8');

/** The lines that the documentation gives for a proxy. */
function documented(proxy: string, before: 'Docker' | 'etcd'): string[] {
  const rows = read('proxies.md').split('\n');
  const row = rows.find((line) => line.startsWith(`| ${proxy}`) && line.includes(` | ${before} | `)) ?? '';
  const lines = [...(row.split(' | ').at(-1) ?? '').matchAll(/`(.*?)`/g)].map(([, line = '']) => line);
  assert.ok(lines.length > 0, `No lines for ${proxy} in front of ${before}`);
  return lines;
}

/** A time limit this short cuts what is idle. */
const cutSeconds = 2;

/** All certificates of one proxy. */
export interface Tls {
  readonly authority: Authority;
  readonly server: Certificate;
  readonly client: Certificate;
  /** Both parts of each in one file, as HAProxy has them. */
  readonly pem: { readonly server: string; readonly client: string };
}

export function createTls(directory: string): Tls {
  const authority = createAuthority(directory, 'ca');
  const server = authority.sign('server', { names: 'DNS:localhost,IP:127.0.0.1' });
  const client = authority.sign('client');
  const whole = ({ cert, key }: Certificate): string => {
    writeFileSync(`${cert}.whole`, [cert, key].map((file) => readFileSync(file, 'utf8')).join(''));
    return `${cert}.whole`;
  };
  return { authority, server, client, pem: { server: whole(server), client: whole(client) } };
}

/** Where a proxy listens on loopback, and where it goes to: a path before Docker, a port before etcd. */
export interface Place {
  readonly directory: string;
  readonly port: number;
  readonly to: string;
  readonly tls: Tls | undefined;
}

const indented = (lines: readonly string[], by: number): string =>
  lines.map((line) => `${' '.repeat(by)}${line}\n`).join('');
const shortened = (configuration: string): string =>
  configuration
    .replaceAll(/(timeout (?:client|server|http-keep-alive)) [1-9]\w*/g, `$1 ${cutSeconds}s`)
    .replaceAll(/(proxy_read_timeout|grpc_read_timeout) \w+/g, `$1 ${cutSeconds}s`);

const haproxyBind = ({ port, tls }: Place, more = ''): string =>
  `bind 127.0.0.1:${port}${tls ? ` ssl crt ${tls.pem.server} ca-file ${tls.authority.ca} verify required${more}` : ''}`;

function socketProxy(place: Place): string {
  return read('socket-proxy.cfg').replace('bind :2375', haproxyBind(place)).replace('/host/docker.sock', place.to);
}

/** In the form of Tecnativa's docker-socket-proxy, with CONTAINERS=1. */
function sectionProxy(place: Place, more: readonly string[]): string {
  const allowed = ['_ping', 'version', 'events', 'containers'].map(
    (section) => `    http-request allow if { path,url_dec -m reg -i ^(/v[\\d\\.]+)?/${section} }\n`,
  );
  return `global
    log stdout format raw daemon info
    maxconn 4000
defaults
    mode http
    log global
    option httplog
    option dontlognull
    option http-server-close
    option redispatch
    retries 3
    timeout http-request 10s
    timeout queue 1m
    timeout connect 10s
    timeout client 10m
    timeout server 10m
    timeout http-keep-alive 10s
    timeout check 10s
    maxconn 3000
${indented(more, 4)}
backend engine
    server engine ${place.to}
backend events
    server engine ${place.to}
    timeout server 0
frontend sections
    ${haproxyBind(place)}
    http-request deny unless METH_GET
${allowed.join('')}    http-request deny
    use_backend events if { path,url_dec -m reg -i ^(/v[\\d\\.]+)?/events }
    default_backend engine
`;
}

const nginxListen = ({ port, tls }: Place, more = ''): string[] => [
  `listen 127.0.0.1:${port}${tls ? ' ssl' : ''}${more};`,
  ...(tls
    ? [
        `ssl_certificate ${tls.server.cert};`,
        `ssl_certificate_key ${tls.server.key};`,
        `ssl_client_certificate ${tls.authority.ca};`,
        'ssl_verify_client on;',
      ]
    : []),
];

function nginxBeforeDocker(place: Place): string {
  const lines = documented('nginx', 'Docker');
  const location = `location / {\n${indented([`proxy_pass http://unix:${place.to}:;`, ...lines], 4)}}`;
  return `server {\n${indented([...nginxListen(place), `keepalive_timeout ${cutSeconds}s;`, location], 4)}}`;
}

function nginxBeforeEtcd(place: Place): string {
  const { tls, to } = place;
  const lines = documented('nginx', 'etcd');
  const isUpstream = (line: string): boolean => line.startsWith('keepalive');
  const upstream = tls
    ? [
        'grpc_pass grpcs://members;',
        `grpc_ssl_certificate ${tls.client.cert};`,
        `grpc_ssl_certificate_key ${tls.client.key};`,
        `grpc_ssl_trusted_certificate ${tls.authority.ca};`,
        'grpc_ssl_verify on;',
        'grpc_ssl_name localhost;',
      ]
    : ['grpc_pass grpc://members;'];
  const location = `location / {\n${indented(upstream, 4)}}`;
  // It closes a connection after so many requests, with GOAWAY.
  const limits = ['keepalive_requests 20;', `keepalive_timeout ${cutSeconds}s;`];
  const server = [...nginxListen(place, ' http2'), ...lines.filter((line) => !isUpstream(line)), ...limits, location];
  return `upstream members {
${indented([`server 127.0.0.1:${to};`, ...lines.filter(isUpstream)], 4)}}
server {
${indented(server, 4)}}`;
}

function haproxyBeforeEtcd(place: Place): string {
  const { tls, to } = place;
  const lines = documented('HAProxy', 'etcd');
  const [bind = '', server = ''] = ['bind', 'server'].map((word) => lines.find((line) => line.startsWith(word)));
  assert.equal(bind, 'bind :2379 proto h2');
  const upstream = tls ? ` ssl crt ${tls.pem.client} ca-file ${tls.authority.ca} verify required alpn h2` : '';
  return `global
    log stdout format raw daemon info
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
${indented(
  lines.filter((line) => line.startsWith('timeout')),
  4,
)}
frontend readers
    ${tls ? haproxyBind(place, ' alpn h2') : `${haproxyBind(place)} proto h2`}
    default_backend members
backend members
    ${server.replace('etcd:2379', `127.0.0.1:${to}`)}${upstream}
`;
}

function grpcProxyArgs({ tls, to }: Place): string[] {
  if (tls === undefined) return [`--endpoints=127.0.0.1:${to}`];
  const { authority, server } = tls;
  // It refuses a certificate with a common name, because etcd would take that for the user of all who are behind it.
  const client = authority.sign('nameless', { subject: '/O=discover' });
  return [
    `--endpoints=https://127.0.0.1:${to}`,
    ...[`--cacert=${authority.ca}`, `--cert=${client.cert}`, `--key=${client.key}`],
    ...[`--trusted-ca-file=${authority.ca}`, `--cert-file=${server.cert}`, `--key-file=${server.key}`],
  ];
}

const at = ({ port }: Place): string[] => [`127.0.0.1:${port}`];
type Start = (place: Place) => Promise<ProxyProgram>;
const haproxy =
  (configuration: (place: Place) => string): Start =>
  (place) =>
    startHaproxy(place.directory, shortened(configuration(place)), at(place));
const nginx =
  (http: (place: Place) => string): Start =>
  (place) =>
    startNginx(place.directory, shortened(http(place)), at(place));

export const beforeDocker = {
  socketProxy: haproxy(socketProxy),
  sections: haproxy((place) => sectionProxy(place, [])),
  sectionsWithLine: haproxy((place) => sectionProxy(place, documented("Tecnativa's docker-socket-proxy", 'Docker'))),
  nginx: nginx(nginxBeforeDocker),
  bufferingNginx: (place) =>
    startNginx(place.directory, nginxBeforeDocker(place).replace('buffering off', 'buffering on'), at(place)),
} satisfies Record<string, Start>;

export const beforeEtcd = {
  haproxy: haproxy(haproxyBeforeEtcd),
  nginx: nginx(nginxBeforeEtcd),
  grpcProxy: (place) => startGrpcProxy(grpcProxyArgs(place), place.port),
} satisfies Record<string, Start>;
