/**
 * Why something of a container is not published: one table that serves the log, `discover why`, `/status`, the page,
 * the metrics and the README. Pure data, without an import, so that the page may load it as well.
 *
 * `title` names the reason in a few words. `remedy` is what a person can do about it.
 */

interface Refusal {
  readonly title: string;
  readonly remedy: string;
}

/** Why one entry of an advertisement is refused. */
export const refusals = {
  'name-invalid': {
    title: 'The name is not allowed',
    remedy: 'Rename the service, or set discover.namePolicy',
  },
  'port-invalid': {
    title: 'The port is not valid',
    remedy: 'Write the port that the container listens on, as in web:8080',
  },
  'protocol-invalid': {
    title: 'The protocol is unknown',
    remedy: 'Write /tcp, /udp or /sctp behind the port, or nothing for tcp',
  },
  'not-published': {
    title: 'The port is not published',
    remedy:
      'Publish the port when a container is created: docker run -p, or -P with EXPOSE; on macvlan and ipvlan set address.from to container',
  },
  loopback: {
    title: 'Only the host itself can reach it',
    remedy: 'Publish it on an address that others reach: -p 8080:80 rather than -p 127.0.0.1:8080:80',
  },
  'host-only': {
    title: 'Its address leads to containers of this host only',
    remedy: 'Publish it on an address that others reach: -p 8080:80 rather than -p 172.17.0.1:8080:80',
  },
  'other-family': {
    title: 'The port is bound to addresses of the other family',
    remedy: 'Publish it on both families (-p 8080:80), or set host.ip to an address of that family',
  },
  'rootless-host-network': {
    title: 'The host network of a rootless engine is not the host’s',
    remedy: 'Publish the port instead: docker run -p 8080:80 without --network host',
  },
  'no-network': {
    title: 'The container has no network',
    remedy: 'It has no network (--network none): give it one and publish the port',
  },
  'rootless-network': {
    title: 'The networks of a rootless engine are not reached from outside',
    remedy: 'Publish the port (docker run -p), and leave address.from and the label discover.address at published',
  },
  'shared-network': {
    title: 'It uses the network of a container that does not publish the port',
    remedy: 'Publish the port at the container whose network it uses: docker run -p there',
  },
  'network-ended': {
    title: 'The container whose network it uses has ended, or was started again',
    remedy: 'Start that container, then restart this one: it is still in the network that has ended',
  },
  'no-address': {
    title: 'The container has no address of its own',
    remedy: 'Connect it to a network that gives it an address (docker network connect), or publish the port',
  },
  'network-ambiguous': {
    title: 'The container is on several networks, and none of them is named',
    remedy: 'Name the network in the label discover.network, or in address.networks',
  },
  'network-missing': {
    title: 'The container is not on the network that its label names',
    remedy: 'Connect it to that network (docker network connect), or correct the label discover.network',
  },
  'address-not-allowed': {
    title: 'The host does not allow the address that the label names',
    remedy:
      'Add the network of the address to address.allowLabel, or take the address out of the label discover.address',
  },
  'no-host-address': {
    title: 'The host has no address',
    remedy: 'Give the host an address again, or set host.ip; it is published as soon as there is one',
  },
  'swarm-ingress': {
    title: 'The swarm publishes the port, not this host',
    remedy: 'Publish it on the host of each task: docker service create --publish mode=host,target=80',
  },
  'not-bound': {
    title: 'The engine did not publish the port',
    remedy:
      'Connect it to a bridge network that is not internal (docker network connect), or restart it: docker restart; for macvlan, ipvlan and a network that is routed set address.from to either; see the log of the engine',
  },
  multiline: {
    title: 'The advertisement has more than one line',
    remedy: 'Write all entries in one line, with commas',
  },
  'too-long': {
    title: 'The advertisement is too long',
    remedy: 'Advertise less than 16 KiB',
  },
  'too-many': {
    title: 'It advertises too many services',
    remedy: 'Advertise fewer services; each view that is on takes room as well',
  },
  disabled: {
    title: 'A label says that nothing is published',
    remedy: 'Take the label discover.enable away, or set it to true, and create the container anew',
  },
  'realm-not-allowed': {
    title: 'The host does not allow the realm',
    remedy: 'Name one of host.realms in the label discover.realm, or add the realm to host.realms',
  },
  'name-not-allowed': {
    title: 'The host does not allow the name for this image',
    remedy: 'Add a line to discover.allow that has this name and this image, or rename the service',
  },
  'label-unknown': {
    title: 'The label is unknown',
    remedy: 'Correct the name of the label and create the container anew, or set discover.label to another prefix',
  },
  'attribute-invalid': {
    title: 'The attribute is not valid',
    remedy: 'Correct the label and create the container anew; the service is published without the attribute',
  },
  'attribute-stray': {
    title: 'The attribute is of a service that is not advertised',
    remedy: 'Write the name of an advertised service between the prefix and the attribute, or advertise the service',
  },
  'attribute-too-many': {
    title: 'The service has too many attributes',
    remedy: 'Use at most 32 attributes and 4 KiB for a service',
  },
  'label-twice': {
    title: 'Two labels differ in case only',
    remedy: 'Keep one of the two labels',
  },
  'label-invalid': {
    title: 'The value of the label is not allowed',
    remedy: 'Correct the value of the label and create the container anew',
  },
} as const satisfies Record<string, Refusal>;

export type RefusalCode = keyof typeof refusals;
export const refusalCodes = Object.keys(refusals) as readonly RefusalCode[];

/** Why a container that runs, and offers something, is not published now; or what is odd about one that is. */
export const withheld = {
  maintenance: {
    title: 'It is in maintenance',
    remedy: 'See discover maintenance list, and end it with discover maintenance off',
  },
  'host-drain': {
    title: 'Its host is drained',
    remedy: 'discover stops here and host.onExit is drain: start discover, and what runs is published again',
  },
  'engine-away': {
    title: 'The engine has been away for long',
    remedy: 'Start the engine: what it shows to run is published again. publish.engineAway 0 turns this off',
  },
  draining: {
    title: 'It was asked to stop',
    remedy:
      'It is published again if it still runs StopTimeout and 5 s later; publish.drain and discover.drain turn this off',
  },
  'ignores-stop': {
    title: 'It was asked to stop and runs on',
    remedy: 'It is published. Have its main process end at its stop signal (docker run --init, or --stop-signal)',
  },
  paused: {
    title: 'It is paused',
    remedy: 'Let it go on: docker unpause; or set publish.paused to keep',
  },
  unhealthy: {
    title: 'Its health check fails',
    remedy:
      'See docker inspect, State.Health.Log. publish.health or the label discover.health set to ignore publishes it',
  },
  'not-healthy': {
    title: 'Its health check has not succeeded yet',
    remedy: 'See docker inspect, State.Health.Log. It is published once healthy: publish.health is require-healthy',
  },
  'still-starting': {
    title: 'Its health check has been starting for long',
    remedy:
      'See docker inspect, State.Health: a check that never ends needs --health-timeout, a long start a longer --health-start-period. publish.health is require-healthy',
  },
  flapping: {
    title: 'It crashes again and again',
    remedy:
      'See docker logs. It is published once it has run for as long as is asked of it; publish.flapDeaths 0 turns this off',
  },
  'too-young': {
    title: 'It has not run long enough',
    remedy: 'Wait: it is published once it has run for publish.after seconds',
  },
} as const satisfies Record<string, Refusal>;

export type ReasonCode = keyof typeof withheld;
export const reasonCodes = Object.keys(withheld) as readonly ReasonCode[];

/** Why nothing new is known or written of a whole container. */
export const outages = {
  failing: {
    title: 'The container cannot be inspected',
    remedy: 'Ask the engine itself: docker inspect. Until it answers, what is published of the container stays',
  },
  quarantined: {
    title: 'etcd refuses its keys',
    remedy: 'See discover doctor: etcd is out of space, or the role of its user lacks something. It is tried again',
  },
} as const satisfies Record<string, Refusal>;
