/**
 * A container as the engine knows it, and the documents it gives of one: inspect and list element.
 *
 * Recorded from dockerd 20.10.24 key for key (test/fixtures); from API 1.52 on the top-level
 * addresses are gone. Text is put together around constant parts rather than stringified as a
 * whole: under churn every container is asked for about once, so this is the cost of an inspect.
 * Both documents are kept until the container changes.
 */
import { message } from './http.ts';

export interface PortSpec {
  /** `8080/tcp`. */
  readonly container: string;
  /** Both wildcard addresses unless given. */
  readonly hostIp?: string;
  /** An ephemeral one unless given. */
  readonly hostPort?: number;
  /** False for a port that is exposed and not published. */
  readonly published?: boolean;
}

export interface CreateOptions {
  readonly name?: string;
  readonly image?: string;
  readonly env?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly ports?: readonly PortSpec[];
  /** `default`, `host`, `none`, `container:<id>` or the name of a user's network. */
  readonly networkMode?: string;
  /** As by `--rm`. */
  readonly autoRemove?: boolean;
  /** It has a health check, which has always passed. */
  readonly isChecked?: boolean;
  /** Milliseconds since the epoch, for a container that started earlier than now. */
  readonly startedAt?: number;
}

/** Which documents: those of before API 1.52, or of since. */
export type Form = 'legacy' | 'modern';
export type State = 'created' | 'running' | 'paused' | 'restarting' | 'exited';
export type Bindings = { HostIp: string; HostPort: string }[] | null;

export interface Attachment {
  readonly network: string;
  readonly networkId: string;
  readonly subnet: string;
}

export interface Container {
  readonly id: string;
  readonly options: CreateOptions;
  readonly image: string;
  readonly created: bigint;
  readonly sandboxId: string;
  /** Where it belongs; `container:` shares another's and has none. */
  readonly home: Attachment | undefined;
  name: string;
  state: State;
  startedAt: bigint;
  finishedAt: bigint;
  exitCode: number;
  restartCount: number;
  pid: number;
  /** Empty while nothing is attached, which is what dockerd shows then. */
  bindings: Map<string, Bindings>;
  /** False after a `network disconnect` by the user: then there is no trace of the network left. */
  attached: boolean;
  /** Attached again by hand; dockerd leaves three nulls as empties from then on. */
  reattached: boolean;
  endpointId: string;
  address: number;
  /** What has been made of it since it last changed, by API form. */
  inspects: Partial<Record<Form, Buffer>>;
  elements: Partial<Record<Form, readonly [string, string]>>;
}

const imageId = 'sha256:20eba137c8e878c7f6b82407a82f36bac5ebb2947f755153fc59dc93ce289e69';
const args = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.1; done'];
const command = `/bin/busybox sh -c '${args[2]}'`;
const layer = '/var/lib/docker/overlay2/2dd467f3dc232ce2b1390f13ecfb1ee23524168bad1b5432e5d3cbca97226dc6';
const baseLayer = '/var/lib/docker/overlay2/69efb390cb07a6cd97432028c077a6e75cb26aaf49bbbd271e982213b8aef838';

const hostConfigEnd = JSON.stringify({
  VolumeDriver: '',
  VolumesFrom: null,
  CapAdd: null,
  CapDrop: null,
  CgroupnsMode: 'host',
  Dns: [],
  DnsOptions: [],
  DnsSearch: [],
  ExtraHosts: null,
  GroupAdd: null,
  IpcMode: 'private',
  Cgroup: '',
  Links: null,
  OomScoreAdj: 0,
  PidMode: '',
  Privileged: false,
  PublishAllPorts: false,
  ReadonlyRootfs: false,
  SecurityOpt: null,
  UTSMode: '',
  UsernsMode: '',
  ShmSize: 67108864,
  Runtime: 'runc',
  ConsoleSize: [0, 0],
  Isolation: '',
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: '',
  BlkioWeight: 0,
  BlkioWeightDevice: [],
  BlkioDeviceReadBps: [],
  BlkioDeviceWriteBps: [],
  BlkioDeviceReadIOps: [],
  BlkioDeviceWriteIOps: [],
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: '',
  CpusetMems: '',
  Devices: [],
  DeviceCgroupRules: null,
  DeviceRequests: null,
  KernelMemory: 0,
  KernelMemoryTCP: 0,
  MemoryReservation: 0,
  MemorySwap: 0,
  MemorySwappiness: null,
  OomKillDisable: false,
  PidsLimit: null,
  Ulimits: [],
  CpuCount: 0,
  CpuPercent: 0,
  IOMaximumIOps: 0,
  IOMaximumBandwidth: 0,
  MaskedPaths: [
    '/proc/asound',
    '/proc/acpi',
    '/proc/kcore',
    '/proc/keys',
    '/proc/latency_stats',
    '/proc/timer_list',
    '/proc/timer_stats',
    '/proc/sched_debug',
    '/proc/scsi',
    '/sys/firmware',
  ],
  ReadonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
}).slice(1);
const modernHostConfigEnd = hostConfigEnd.replace('"KernelMemory":0,"KernelMemoryTCP":0,', '');

const afterHostConfig = `,"GraphDriver":{"Data":{"LowerDir":"${layer}-init/diff:${baseLayer}/diff","MergedDir":"${layer}/merged","UpperDir":"${layer}/diff","WorkDir":"${layer}/work"},"Name":"overlay2"},"Mounts":[]`;

/** dockerd keeps the last five results. */
const results = Array.from({ length: 5 }, (_, second) => ({
  Start: `2026-11-30T12:00:0${second}.101202303Z`,
  End: `2026-11-30T12:00:0${second}.151202303Z`,
  ExitCode: 0,
  Output: 'ok\n',
}));
const health = `,"Health":${JSON.stringify({ Status: 'healthy', FailingStreak: 0, Log: results })}`;
const check = `"Healthcheck":${JSON.stringify({ Test: ['CMD-SHELL', 'wget -qO- localhost:8080'], Interval: 1_000_000_000 })},`;

/** RFC 3339 with nine digits, as Go prints it; the zero time where there is none. */
export function timeText(nanos: bigint): string {
  if (nanos === 0n) return '0001-01-01T00:00:00Z';
  const seconds = new Date(Number(nanos / 1_000_000n)).toISOString().slice(0, 19);
  const fraction = String(nanos % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${seconds}${fraction && '.'}${fraction}Z`;
}

export function isUp(container: Container): boolean {
  return container.state === 'running' || container.state === 'paused' || container.state === 'restarting';
}

/** The whole answer to an inspect, ready to send. */
export function inspectMessage(container: Container, form: Form, headers: string, bytesMin: number): Buffer {
  let answer = container.inspects[form];
  if (!answer) {
    let body = inspectText(container, form, '');
    if (body.length < bytesMin) body = inspectText(container, form, 'x'.repeat(bytesMin - body.length));
    answer = message('200 OK', headers, body);
    container.inspects[form] = answer;
  }
  return answer;
}

function inspectText(container: Container, form: Form, padding: string): string {
  const modern = form === 'modern';
  const { id, name, options, exitCode, state } = container;
  // Files that a container's first start makes.
  const inHome = (file: string): string =>
    container.startedAt === 0n ? '' : `/var/lib/docker/containers/${id}/${file}`;
  const exposed = Object.fromEntries((options.ports ?? []).map((port) => [port.container, {}]));
  const env = padding ? [...(options.env ?? []), `PADDING=${padding}`] : options.env;
  const mode = options.networkMode ?? 'default';
  const hostname = mode === 'host' ? 'docker-host' : id.slice(0, 12);
  return (
    `{"Id":"${id}","Created":"${timeText(container.created)}","Path":"/bin/busybox","Args":${JSON.stringify(args)},` +
    `"State":{"Status":"${state}","Running":${isUp(container)},"Paused":${state === 'paused'},` +
    `"Restarting":${state === 'restarting'},"OOMKilled":false,"Dead":false,"Pid":${container.pid},` +
    `"ExitCode":${exitCode},"Error":"","StartedAt":"${timeText(container.startedAt)}",` +
    `"FinishedAt":"${timeText(container.finishedAt)}"${options.isChecked ? health : ''}},"Image":"${imageId}","ResolvConfPath":"${inHome('resolv.conf')}",` +
    `"HostnamePath":"${inHome('hostname')}","HostsPath":"${inHome('hosts')}","LogPath":"${inHome(`${id}-json.log`)}",` +
    `"Name":${JSON.stringify(`/${name}`)},"RestartCount":${container.restartCount},"Driver":"overlay2",` +
    `"Platform":"linux","MountLabel":"","ProcessLabel":"","AppArmorProfile":"","ExecIDs":null,` +
    `"HostConfig":{"Binds":null,"ContainerIDFile":"","LogConfig":{"Type":"json-file","Config":{}},` +
    `"NetworkMode":${JSON.stringify(modern && mode === 'default' ? 'bridge' : mode)},` +
    `"PortBindings":${JSON.stringify(wantedBindings(options))},` +
    `"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":${options.autoRemove === true},` +
    `${modern ? modernHostConfigEnd : hostConfigEnd}${afterHostConfig},` +
    `"Config":{"Hostname":"${hostname}","Domainname":"","User":"","AttachStdin":false,` +
    `"AttachStdout":false,"AttachStderr":false,${options.ports?.length ? `"ExposedPorts":${JSON.stringify(exposed)},` : ''}` +
    `"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":${JSON.stringify(env ?? null)},` +
    `"Cmd":${JSON.stringify(args)},${options.isChecked ? check : ''}"Image":${JSON.stringify(container.image)},"Volumes":null,"WorkingDir":"",` +
    `"Entrypoint":["/bin/busybox"],"OnBuild":null,"Labels":${JSON.stringify(options.labels ?? {})}},` +
    `"NetworkSettings":${networkSettings(container, modern)}}\n`
  );
}

function wantedBindings({ ports = [] }: CreateOptions): object {
  const published = ports.filter((port) => port.published !== false);
  return Object.fromEntries(
    published.map(({ container, hostIp = '', hostPort = '' }) => [
      container,
      [{ HostIp: hostIp, HostPort: String(hostPort) }],
    ]),
  );
}

function networkSettings(container: Container, modern: boolean): string {
  const { sandboxId, home, state } = container;
  const sandbox = home && state !== 'created' ? sandboxId : '';
  const key = home?.network === 'host' ? 'default' : sandbox.slice(0, 12);
  const path = sandbox && `/var/run/docker/netns/${key}`;
  const ports = JSON.stringify(Object.fromEntries(container.bindings));
  const networks = JSON.stringify(attachedNetworks(container, 'inspect', modern));
  if (modern) return `{"SandboxID":"${sandbox}","SandboxKey":"${path}","Ports":${ports},"Networks":${networks}}`;
  // Only the default bridge is repeated at the top.
  const repeated = home?.network === 'bridge' && container.attached;
  const { EndpointID, Gateway, IPAddress, IPPrefixLen, MacAddress } = endpoint(container, repeated);
  return (
    `{"Bridge":"","SandboxID":"${sandbox}","HairpinMode":false,"LinkLocalIPv6Address":"",` +
    `"LinkLocalIPv6PrefixLen":0,"Ports":${ports},"SandboxKey":"${path}","SecondaryIPAddresses":null,` +
    `"SecondaryIPv6Addresses":null,"EndpointID":"${EndpointID}","Gateway":"${Gateway}","GlobalIPv6Address":"",` +
    `"GlobalIPv6PrefixLen":0,"IPAddress":"${IPAddress}","IPPrefixLen":${IPPrefixLen},"IPv6Gateway":"",` +
    `"MacAddress":"${MacAddress}","Networks":${networks}}`
  );
}

export function endpoint(container: Container, shown: boolean) {
  const { home, address } = container;
  const connected = shown && (container.state === 'running' || container.state === 'paused');
  const addressed = connected && !!home?.subnet;
  const high = address >> 8;
  const low = address & 255;
  const [a = 0, b = 0] = (home?.subnet ?? '').split('.').map(Number);
  const hex = [a, b, high, low].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  return {
    EndpointID: connected ? container.endpointId : '',
    Gateway: addressed ? `${home.subnet}.0.1` : '',
    IPAddress: addressed ? `${home.subnet}.${high}.${low}` : '',
    IPPrefixLen: addressed ? 16 : 0,
    MacAddress: addressed ? `02:42:${hex}` : '',
  };
}

function attachedNetworks(container: Container, place: 'inspect' | 'list', modern: boolean): object {
  const { home, reattached } = container;
  if (!home || !container.attached) return {};
  const { EndpointID, Gateway, IPAddress, IPPrefixLen, MacAddress } = endpoint(container, true);
  const isUsers = !['bridge', 'host', 'none'].includes(home.network);
  // A user's network knows the container by its short id; the list leaves both of these out.
  const aliases = isUsers && !modern ? [container.id.slice(0, 12)] : reattached ? [] : null;
  const settings = {
    IPAMConfig: reattached ? {} : null,
    Links: null,
    Aliases: place === 'inspect' ? aliases : null,
    NetworkID: container.state === 'created' ? '' : home.networkId,
    EndpointID,
    Gateway,
    IPAddress,
    IPPrefixLen,
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    MacAddress,
    DriverOpts: place === 'inspect' && reattached ? {} : null,
  };
  return { [home.network]: settings };
}

/** The element of a list. What it says of its age is as of `nowMs`. */
export function listElement(container: Container, form: Form, nowMs: number): string {
  const { id, name, options, state } = container;
  let parts = container.elements[form];
  if (!parts) {
    const mode = options.networkMode ?? 'default';
    const modern = form === 'modern';
    parts = [
      `{"Id":"${id}","Names":${JSON.stringify([`/${name}`])},"Image":${JSON.stringify(container.image)},` +
        `"ImageID":"${imageId}","Command":${JSON.stringify(command)},"Created":${container.created / 1_000_000_000n},` +
        `"Ports":${JSON.stringify(listPorts(container))},"Labels":${JSON.stringify(options.labels ?? {})},` +
        `"State":"${state}","Status":"`,
      `","HostConfig":{"NetworkMode":${JSON.stringify(modern && mode === 'default' ? 'bridge' : mode)}},` +
        `"NetworkSettings":{"Networks":${JSON.stringify(attachedNetworks(container, 'list', modern))}},"Mounts":[]}`,
    ];
    container.elements[form] = parts;
  }
  return `${parts[0]}${statusText(container, nowMs)}${parts[1]}`;
}

function listPorts({ bindings }: Container): object[] {
  return [...bindings].flatMap(([port, bound]): object[] => {
    const [number, Type] = port.split('/');
    const PrivatePort = Number(number);
    if (!bound) return [{ PrivatePort, Type }];
    return bound.map(({ HostIp, HostPort }) => ({ IP: HostIp, PrivatePort, PublicPort: Number(HostPort), Type }));
  });
}

function statusText({ state, startedAt, finishedAt, exitCode }: Container, nowMs: number): string {
  const since = (nanos: bigint): string => {
    const seconds = Math.floor((nowMs - Number(nanos / 1_000_000n)) / 1000);
    if (seconds < 1) return 'Less than a second';
    return seconds === 1 ? '1 second' : `${seconds} seconds`;
  };
  if (state === 'created') return 'Created';
  if (state === 'exited') return `Exited (${exitCode}) ${since(finishedAt)} ago`;
  if (state === 'restarting') return `Restarting (${exitCode}) ${since(finishedAt)} ago`;
  return `Up ${since(startedAt)}${state === 'paused' ? ' (Paused)' : ''}`;
}
