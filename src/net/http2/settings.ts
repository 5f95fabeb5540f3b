/** The peer's SETTINGS (RFC 9113, 6.5): reading them, and which values are allowed. Pure. */

import { ConnectionFault, defaultFrameBytes, errorCode, frameBytesLimit, setting } from './frames.ts';

/** In order, with unknown settings, which have no effect. Throws at a value that ends the connection. */
export function readSettings(payload: Buffer): readonly (readonly [id: number, value: number])[] {
  if (payload.length % 6 !== 0) throw new ConnectionFault(errorCode.frameSizeError, 'SETTINGS are cut short');
  return Array.from({ length: payload.length / 6 }, (_, index) => {
    const id = payload.readUInt16BE(6 * index);
    const value = payload.readUInt32BE(6 * index + 2);
    if (id === setting.enablePush && value !== 0) {
      throw new ConnectionFault(errorCode.protocolError, 'a server cannot ask for pushes');
    }
    if (id === setting.frameSizeMax && (value < defaultFrameBytes || value > frameBytesLimit)) {
      throw new ConnectionFault(errorCode.protocolError, `frame size ${value} is not allowed`);
    }
    return [id, value] as const;
  });
}
