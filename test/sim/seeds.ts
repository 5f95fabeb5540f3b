/** Schedules that have found a fault: run first, and for ever. The names say what was wrong. */

import type { ScheduleOptions } from './schedule.ts';

export const seeds: Readonly<Record<string, Pick<ScheduleOptions, 'seed' | 'faultClass'>>> = {
  'a death that a new process hears of again took away what its predecessor had published since': {
    faultClass: 'restart',
    seed: 53,
  },
  'a lease that ended while its owner was waited for was taken for a sign of life': { faultClass: 'restart', seed: 18 },
  'an older death, heard of late, hid a newer one from a look under way': { faultClass: 'order', seed: 960 },
  'a list took away what an overlapping look had read after it': { faultClass: 'restart', seed: 57_397 },
  'the same, with an engine that fails': { faultClass: 'engine', seed: 56_877 },
  'a list from before a take-over took away what the predecessor had published after it': {
    faultClass: 'everything',
    seed: 50_581,
  },
  'a death known from before a take-over took away what the predecessor had published after it': {
    faultClass: 'everything',
    seed: 92_084,
  },
  'what was known from before another process wrote took the place of what that one had published': {
    faultClass: 'everything',
    seed: 1_038_576,
  },
  'an end without a time hid every later start whose event came before that of the death': {
    faultClass: 'answers',
    seed: 1_043_854,
  },
};
