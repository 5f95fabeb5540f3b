/**
 * What can be made to go wrong with the simulated engine, as plain data that may change at any time.
 *
 * Faults change answers, never what is true of the containers: `Engine.snapshot()` stays the truth
 * against which the reader of wrong answers is judged. Fractions are rolled per event and stream,
 * or per request, with the engine's seeded random numbers.
 */
import { message } from './http.ts';

export type RequestKind = 'ping' | 'version' | 'events' | 'list' | 'inspect' | 'other';

/** Answers something else than the truth. The first of the list that applies is taken. */
export interface AnswerFault {
  readonly on: RequestKind;
  /**
   * `message` is the error as JSON, `html` a proxy's error page, `garbage` the first half of the
   * true body and `empty` none of it, both complete to HTTP; `torn` drops the connection half-way.
   */
  readonly body: 'message' | 'html' | 'garbage' | 'empty' | 'torn';
  /** Default: 500 for `message`, 503 for `html`, else 200. */
  readonly status?: number;
  /** Of the requests it could apply to; default all. */
  readonly fraction?: number;
  /** Inspects of these full ids only. */
  readonly ids?: readonly string[];
}

export interface FaultSettings {
  /** Fractions of the events a stream would deliver. The ring keeps them all the same. */
  dropEvents: number;
  duplicateEvents: number;
  /** The event comes after the one that follows it. */
  reorderEvents: number;
  /** Every event is sent whatever was asked for, as through a proxy that drops the query. */
  unfiltered: boolean;
  /** Streams stay open, nothing comes, and what happens meanwhile is lost to them. */
  silence: boolean;
  /** Events are delivered in chunks of so many bytes; 0: each in one chunk of its own, as dockerd does. */
  chunkBytes: number;
  /** So many events gather in one chunk, for at most 5 ms; 0 or 1: none do. */
  joinEvents: number;
  inspectDelayMs: number;
  listDelayMs: number;
  /** Inspects of these full ids are never answered. */
  hangIds: readonly string[];
  answers: readonly AnswerFault[];
}

export const noFaults: Readonly<FaultSettings> = {
  dropEvents: 0,
  duplicateEvents: 0,
  reorderEvents: 0,
  unfiltered: false,
  silence: false,
  chunkBytes: 0,
  joinEvents: 0,
  inspectDelayMs: 0,
  listDelayMs: 0,
  hangIds: [],
  answers: [],
};

const html = '<html>\r\n<body><h1>503 Service Unavailable</h1>\r\nNo server is available.\r\n</body></html>\r\n';

/** The answer that stands in for a true one. */
export function faultyAnswer(
  fault: AnswerFault,
  truth: () => Buffer,
  headers: string,
): { bytes: Buffer; torn: boolean } {
  const line = `${fault.status ?? { message: 500, html: 503, garbage: 200, empty: 200, torn: 200 }[fault.body]} Simulated`;
  const whole = (body: string | Buffer): Buffer => message(line, headers, body);
  switch (fault.body) {
    case 'message':
      return { bytes: whole(`{"message":"simulated fault"}\n`), torn: false };
    case 'html':
      return { bytes: message(line, 'Content-Type: text/html\r\n', html), torn: false };
    case 'empty':
      return { bytes: whole(''), torn: false };
    case 'garbage': {
      const body = bodyOf(truth());
      return { bytes: whole(body.subarray(0, body.length >> 1)), torn: false };
    }
    case 'torn': {
      const body = bodyOf(truth());
      const bytes = whole(body);
      return { bytes: bytes.subarray(0, bytes.length - (body.length >> 1)), torn: true };
    }
  }
}

function bodyOf(answer: Buffer): Buffer {
  return answer.subarray(answer.indexOf('\r\n\r\n') + 4);
}
