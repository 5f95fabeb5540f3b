/** The entry of the shared worker: one hub for all tabs of the browser that show this page. */
import { connect } from './feed.ts';
import { Hub, type Wish } from './hub.ts';

const hub = new Hub(connect);

addEventListener('connect', (event) => {
  const [port] = (event as MessageEvent).ports;
  if (port === undefined) return;
  const tell = port.postMessage.bind(port);
  port.addEventListener('message', ({ data }: MessageEvent<Wish>) => hub.wish(data, tell));
  // A tab that crashes says no farewell.
  port.addEventListener('close', () => hub.forget(tell));
  port.start();
});
