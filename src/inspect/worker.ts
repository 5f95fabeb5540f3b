/** Entry of a pool thread: one batch inspector for the life of the thread. Named by `pool.ts`, imported by no file. */

import { parentPort, workerData } from 'node:worker_threads';
import { type BatchInspectorOptions, createBatchInspector, type Task, type TaskResult } from './batch.ts';

const inspector = createBatchInspector(workerData as BatchInspectorOptions, (task, report) =>
  parentPort?.postMessage({ task, report }),
);

export default function run(task: Task): Promise<TaskResult> {
  return inspector.run(task);
}
