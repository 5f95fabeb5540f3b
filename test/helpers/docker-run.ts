/**
 * A container as a test asks for it, told in two ways: to the command line client, and to the API as that client does it.
 *
 * The API is taken wherever it can be: a process of the client takes more of a core than what it is there to ask for.
 */

export interface ContainerOptions {
  /** A list is passed as it is, for what a record cannot say: an entry twice, an odd name. */
  readonly env?: Readonly<Record<string, string>> | readonly string[];
  /** As after `docker run -p`: `80`, `8080:80`, `127.0.0.1::80`, `53/udp`. */
  readonly ports?: readonly (string | number)[];
  readonly name?: string;
  readonly rm?: boolean;
  readonly network?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** A name from `image`. */
  readonly image?: string;
  /** Further arguments of `docker run`. */
  readonly args?: readonly string[];
  /** A busybox applet and its arguments; sleeps by default. */
  readonly command?: readonly string[];
}

const sleeping = ['sleep', '1000000'];

const variablesOf = ({ env = {} }: ContainerOptions): readonly string[] =>
  Array.isArray(env) ? env : Object.entries(env).map(([name, value]) => `${name}=${value}`);

/** What `docker run` is told. */
export function argumentsOf(container: ContainerOptions, image: string): string[] {
  const flag = (name: string, value: string | undefined): string[] => (value === undefined ? [] : [name, value]);
  return [
    ...['run', '--detach', '--pull=never', '--stop-signal=KILL'],
    ...variablesOf(container).flatMap((variable) => ['--env', variable]),
    ...(container.ports ?? []).flatMap((port) => ['--publish', String(port)]),
    ...Object.entries(container.labels ?? {}).flatMap(([name, value]) => ['--label', `${name}=${value}`]),
    ...flag('--name', container.name),
    ...flag('--network', container.network),
    ...(container.rm === true ? ['--rm'] : []),
    ...(container.args ?? []),
    image,
    ...(container.command ?? sleeping),
  ];
}

/** What it makes of that for the API. */
export function documentOf(container: ContainerOptions, image: string): object {
  const published: Record<string, { readonly HostIp: string; readonly HostPort: string }[]> = {};
  for (const port of container.ports ?? []) {
    const [, address = '', host = '', inner = '', protocol = 'tcp'] =
      /^(?:(?:(\[.*\]|[^:]*):)?([\d-]*):)?(\d+)(?:\/(\w+))?$/.exec(String(port)) ?? [];
    if (inner === '') throw new Error(`Not a port to publish: ${port}`);
    const bindings = published[`${inner}/${protocol}`] ?? [];
    bindings.push({ HostIp: address.replaceAll(/[[\]]/g, ''), HostPort: host });
    published[`${inner}/${protocol}`] = bindings;
  }
  return {
    Image: image,
    Env: variablesOf(container),
    Cmd: container.command ?? sleeping,
    Labels: container.labels ?? {},
    StopSignal: 'KILL',
    ExposedPorts: Object.fromEntries(Object.keys(published).map((port) => [port, {}])),
    HostConfig: {
      AutoRemove: container.rm === true,
      NetworkMode: container.network ?? 'default',
      PortBindings: published,
    },
  };
}
