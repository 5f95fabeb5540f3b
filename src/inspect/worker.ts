/** Entry of a pool thread: one looker for the life of the thread. Named by `pool.ts`, imported by nobody. */

import { parentPort, workerData } from 'node:worker_threads';
import { type BatchInspectorOptions, createBatchInspector, type Task, type TaskResult } from './batch.ts';

const looker = createBatchInspector(workerData as BatchInspectorOptions, (task, report) =>
  parentPort?.postMessage({ task, report }),
);

export default function run(task: Task): Promise<TaskResult> {
  return looker.run(task);
}
