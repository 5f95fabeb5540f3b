/**
 * A connection to a server, for our own two clients, and the meaning of a failed handshake.
 *
 * Without TLS all reads go into one buffer for the life of the connection. A stream would allocate
 * 64 KiB for each read, which would be most of the garbage of a small answer.
 */

import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface TlsOptions {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly ALPNProtocols?: string[];
}

export type Address =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly tls?: TlsOptions | undefined };

/** `onBytes` is given bytes that may be overwritten once it returns. The caller listens for 'error' and 'close'. */
export function openSocket(address: Address, bufferBytes: number, onBytes: (bytes: Buffer) => void): Socket {
  if ('host' in address && address.tls) {
    const { host, port, tls } = address;
    // The certificate is checked for a name, or for an address; but only a name may be sent as the server name.
    const servername = isIP(host) ? {} : { servername: host };
    return connectTls({ host, port, ...tls, ...servername })
      .setNoDelay(true)
      .on('data', onBytes);
  }
  const buffer = Buffer.allocUnsafeSlow(bufferBytes);
  const callback = (length: number): boolean => {
    onBytes(buffer.subarray(0, length));
    return true;
  };
  return connect({ ...address, onread: { buffer, callback } }).setNoDelay(true);
}

/** The error texts of Node, OpenSSL and servers of Go for a failed handshake, and their meanings. */
const handshakeFailures: readonly (readonly [said: RegExp, meaning: (group: string, address: string) => string])[] = [
  [
    /certificate has expired|not yet valid/,
    (_, address) => `certificate of the server at ${address} is not valid today`,
  ],
  [/altnames/, (_, address) => `certificate of the server is for another name than ${address} has`],
  [
    /self.signed|unable to (verify|get)|signature failure/,
    (group) =>
      `certificate of the server is not signed by ${group}.tls.ca, or by a public authority where that is unset`,
  ],
  [
    /alert (number|bad|unknown|certificate|handshake)/,
    (group) => `server does not accept ${group}.tls.cert, or misses it`,
  ],
  [/before secure TLS|wrong version number/, (_, address) => `server at ${address} does not speak TLS`],
];

/** An error of OpenSSL in its own words, without its numbers and the lines of its source. */
export function plainTls(text: string): string {
  return text
    .replaceAll(/\b[\dA-F]+:error:[\dA-F]+:[^:]*:[^:]*:([^:]+):[^:\s]*:\d+:(?:SSL alert number \d+:?)?/g, '$1')
    .trim();
}

/** Whether an error is about TLS: one of the certificates, or a server that does not speak it. */
export function tlsFailure(text: string): 'certificate' | 'tls-unspoken' | undefined {
  const index = handshakeFailures.findIndex(([said]) => said.test(text));
  if (index === -1) return undefined;
  return index === handshakeFailures.length - 1 ? 'tls-unspoken' : 'certificate';
}

/**
 * The option that an error of TLS is about, as a prefix for the error; empty if it is about no option.
 * Recognised by the text, because libraries hand on nothing else.
 */
export function handshakeFailure(text: string, group: 'docker' | 'etcd'): string {
  const meaning = handshakeFailures.find(([said]) => said.test(text))?.[1];
  return meaning === undefined ? '' : `${meaning(group, group === 'etcd' ? 'etcd.endpoints' : 'docker.host')}: `;
}
