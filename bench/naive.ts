/**
 * The algorithm of the original (totem/discover 0.4.1), written anew on today's libraries.
 *
 *   node naive.js SOCKET ETCD-ENDPOINT HOST-ID HOST-IP
 *
 * Every start is inspected and each of its keys put by itself; at a death the record is read and what
 * it names deleted, key by key. No step waits for another: a death overtakes the inspect of its start,
 * and what is lost stays lost. The faults are the algorithm's; that it read one event per chunk is
 * not taken over, and neither are its libraries.
 */
import Dockerode from 'dockerode';
import { Etcd3 } from 'etcd3';

const [socketPath = '', endpoint = '', hostId = '', hostIp = ''] = process.argv.slice(2);
const docker = new Dockerode({ socketPath });
const etcd = new Etcd3({ hosts: endpoint });
const recordPrefix = `/discover/host/${hostId}/`;

/** What failed is said and forgotten, as it was. */
function warn(error: unknown): void {
  console.warn(String(error));
}

async function publish(id: string): Promise<void> {
  const container = await docker.getContainer(id).inspect();
  if (!container.State.Running) return;
  const record: Record<string, string> = {};
  for (const variable of container.Config.Env) {
    if (!variable.startsWith('DISCOVER=')) continue;
    for (const entry of variable.slice('DISCOVER='.length).split(',')) {
      const [name = '', port = ''] = entry.trim().split(':');
      const [number = '', protocol = 'tcp'] = port.toLowerCase().split('/');
      const bound = container.NetworkSettings.Ports[`${number}/${protocol}`]?.find(
        ({ HostIp }) => HostIp === '0.0.0.0',
      );
      if (!bound) continue;
      const key = `/discover/service/${name}/default/${hostId}/${id}`;
      etcd.put(key).value(`${protocol}://${hostIp}:${bound.HostPort}`).exec().catch(warn);
      record[name] = key;
    }
  }
  await etcd.put(recordPrefix + id).value(JSON.stringify(record));
}

async function unpublish(id: string): Promise<void> {
  const record = await etcd.get(recordPrefix + id).json();
  if (record === null) throw new Error(`No record of ${id}`);
  for (const key of Object.values(record as Record<string, string>)) etcd.delete().key(key).exec().catch(warn);
  await etcd.delete().key(recordPrefix + id);
}

async function reconcile(): Promise<void> {
  const [containers, records] = await Promise.all([docker.listContainers(), etcd.getAll().prefix(recordPrefix).keys()]);
  const running = new Set(containers.map(({ Id }) => Id.slice(0, 12)));
  const published = new Set(records.map((key) => key.slice(recordPrefix.length)));
  for (const id of published) if (!running.has(id)) unpublish(id).catch(warn);
  for (const id of running) if (!published.has(id)) publish(id).catch(warn);
}

async function listen(): Promise<void> {
  const stream = await docker.getEvents();
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = JSON.parse(line) as { Type: string; Action: string; Actor: { ID: string } };
      if (event.Type !== 'container') continue;
      const id = event.Actor.ID.slice(0, 12);
      if (event.Action === 'start') publish(id).catch(warn);
      else if (event.Action === 'die') unpublish(id).catch(warn);
    }
  }
}

reconcile().catch(warn);
listen().catch(warn);
