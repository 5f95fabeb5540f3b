/** Entry of a pool thread: one looker for the life of the thread. Named by `pool.ts`, imported by nobody. */

import { parentPort, workerData } from 'node:worker_threads';
import { createLooker, type LookOptions, type Task, type TaskResult } from './look.ts';

const looker = createLooker(workerData as LookOptions, (task, report) => parentPort?.postMessage({ task, report }));

export default function run(task: Task): Promise<TaskResult> {
  return looker.run(task);
}
