// Keys and values against the model (answers.ts): many short lives on fake shards, a few on real ones.

import { test } from 'vitest';
import { answersAsModel } from './answers.ts';
import { openRealBench } from './real-bench.ts';
import { Bench } from './support.ts';

test.each([1, 3])('[KV5] answers as the model does, on %d shards', (shards) =>
  answersAsModel(() => new Bench(shards), { numRuns: shards === 1 ? 400 : 150, stepsMax: 100 }),
);

test.each([1, 3])('[KV9] answers as the model does, across crashes, on %d real shards', (shards) =>
  answersAsModel(() => openRealBench(shards), { numRuns: 6, stepsMax: 60, endOnFailure: true }),
);
