/** The head of an HTTP/1.1 response to GET: what follows it on the connection (RFC 9112, 4 to 6 and 9). Pure. */

export interface Framing {
  readonly status: number;
  /** Bytes of the body; infinite up to the end of the connection. */
  readonly length: number | 'chunked';
  readonly isKept: boolean;
}

const statusLine = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [^\0\r\n]*)?\r\n/;
/** A line that begins with white space goes on with the value before it (5.2). */
const fieldLine = /([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[^\0\r\n]|\r\n[ \t])*?)[ \t]*\r\n(?![ \t])/y;

/** `head` ends with the line break of its last line. Throws at a malformed head, or one with more than one length. */
export function framingOf(head: string): Framing {
  const start = statusLine.exec(head);
  if (start === null) throw new Error('answer is not HTTP/1.1');
  const isOld = start[1] === '0';
  const status = Number(start[2]);
  let length: string | undefined;
  let coding: string | undefined;
  let connection = '';
  fieldLine.lastIndex = start[0].length;
  while (fieldLine.lastIndex < head.length) {
    const [, name = '', value = ''] = fieldLine.exec(head) ?? [];
    if (name === '') throw new Error('answer has a line in its head that is no field');
    const key = name.toLowerCase();
    if (key === 'content-length') {
      if (length !== undefined && length !== value) throw new Error('answer has two lengths');
      length = value;
    } else if (key === 'transfer-encoding') coding = coding === undefined ? value : `${coding}, ${value}`;
    else if (key === 'connection') connection += `,${value}`;
  }
  const options = connection.toLowerCase().split(/[\s,]+/);
  const isKept = !options.includes('close') && (!isOld || options.includes('keep-alive'));
  if (status === 101) throw new Error('answer changes the protocol, which was not asked for');
  if (status < 200 || status === 204 || status === 304) return { status, length: 0, isKept };
  return bodyOf(status, length, coding, isOld, isKept);
}

function bodyOf(
  status: number,
  length: string | undefined,
  coding: string | undefined,
  isOld: boolean,
  isKept: boolean,
): Framing {
  if (coding !== undefined) {
    if (coding.toLowerCase() !== 'chunked') throw new Error('answer has a transfer coding that was not asked for');
    if (length !== undefined) throw new Error('answer has a length and chunks');
    if (isOld) throw new Error('answer of HTTP/1.0 has chunks');
    return { status, length: 'chunked', isKept };
  }
  if (length === undefined) return { status, length: Number.POSITIVE_INFINITY, isKept: false };
  if (!/^\d{1,15}$/.test(length)) throw new Error('answer has a length that is not a number');
  return { status, length: Number(length), isKept };
}
