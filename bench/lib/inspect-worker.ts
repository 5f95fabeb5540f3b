/** Entry of a pool thread of `inspections.ts`: that of `src/inspect/worker.ts`, with the client that is asked for. */
import { parentPort, workerData } from 'node:worker_threads';
import type { DockerEndpoint } from '../../src/docker/docker.ts';
import { InspectClient } from '../../src/docker/inspect-client.ts';
import { createBatchInspector, type Task, type TaskResult } from '../../src/inspect/batch.ts';
import { NodeInspectClient } from '../../test/helpers/node-inspect.ts';

const { client, socketPath } = workerData as { client: 'own' | 'node:http'; socketPath: string };
const endpoint: DockerEndpoint = { kind: 'socket', path: socketPath };
const options = { endpoint, hostIp: '10.0.0.5', serviceVariable: 'DISCOVER', namePolicy: 'compat' } as const;
const inspector = createBatchInspector(
  options,
  (task, report) => parentPort?.postMessage({ task, report }),
  client === 'own' ? new InspectClient(endpoint) : new NodeInspectClient(endpoint),
);

export default function run(task: Task): Promise<TaskResult> {
  return inspector.run(task);
}
