// The fake server in a thread of its own, for tests that block the main thread. Answers every message with
// figures.
import { parentPort } from 'node:worker_threads';
import { FakeServer } from './fake-server.ts';

export interface Figures {
  renewals: number;
  jobs: { state: string; attempt: number }[];
}

const fake = await new FakeServer().start();
parentPort?.on('message', (queue: string) => {
  const jobs = fake.queues.queue(queue).jobs.map(({ state, attempt }) => ({ state, attempt }));
  const figures: Figures = { renewals: fake.queues.renewals, jobs };
  parentPort?.postMessage(figures);
});
parentPort?.postMessage(fake.address);
