/**
 * A connection to a server, for the two clients of our own.
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
