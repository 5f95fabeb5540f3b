/**
 * A connection to a server, for the two clients of our own, and what a failed handshake is about.
 *
 * Without TLS all reads go into one buffer for the life of the connection, where a stream would
 * allocate 64 KiB for each; that is most of what a small answer costs in garbage.
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
    // A name is what the certificate is checked for; an address is checked as such, and cannot be asked for.
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

/** What Node, OpenSSL and servers of Go say of a handshake that failed. */
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

/** Whether an error is about TLS: one of the certificates, or a server that does not speak it. */
export function tlsFailure(text: string): 'certificate' | 'tls-unspoken' | undefined {
  const index = handshakeFailures.findIndex(([said]) => said.test(text));
  if (index === -1) return undefined;
  return index === handshakeFailures.length - 1 ? 'tls-unspoken' : 'certificate';
}

/**
 * The option that an error of TLS is about, to stand before the error; empty where it is about none.
 * Told by the text, because that is all that libraries hand on.
 */
export function handshakeFailure(text: string, group: 'docker' | 'etcd'): string {
  const meaning = handshakeFailures.find(([said]) => said.test(text))?.[1];
  return meaning === undefined ? '' : `${meaning(group, group === 'etcd' ? 'etcd.endpoints' : 'docker.host')}: `;
}
