// Runs the job against a FlowMesh that is there: node --conditions=flowmesh-source examples/flights/run.ts
//   --address HOST:PORT   where it listens (FLOWMESH_ADDRESS, localhost:7070)
//   --records N           only so many records
//   --resume              go on where an interrupted run stood, with the records that are in the stream
import { parseArgs } from 'node:util';
import { connect, type FlowMesh } from '@flowmesh/client';
import { isDelayed, readFlights, tally } from './dataset.ts';
import {
  backlogOfGroup,
  backlogOfQueue,
  countDelayed,
  enqueueDelayed,
  produce,
  readLeaderboard,
  readTallies,
  startOver,
} from './pipeline.ts';
import { differences, printLeaderboard, printVerdict, timed } from './report.ts';

export interface RunOptions {
  records?: number | undefined;
  resume?: boolean | undefined;
}

/** True: the result is exactly that of the direct computation. */
export async function runFlights(fm: FlowMesh, { records, resume }: RunOptions = {}): Promise<boolean> {
  const flights = readFlights(records);
  if (!resume) {
    await startOver(fm);
    const step = { title: '1. write every record to the stream', unit: 'records', total: flights.length };
    await timed(step, (onProgress) => produce(fm, flights, onProgress));
  }
  const unread = await backlogOfGroup(fm);
  const reading = { title: '2. read them, enqueue the delayed flights', unit: 'records', total: unread };
  await timed(reading, (onProgress) => enqueueDelayed(fm, unread, onProgress));
  const jobs = await backlogOfQueue(fm);
  const working = { title: '3. work: ack and count in one commit', unit: 'jobs', total: jobs };
  await timed(working, (onProgress) => countDelayed(fm, jobs, onProgress));

  const [tallies, leaderboard] = await Promise.all([readTallies(fm), readLeaderboard(fm)]);
  printLeaderboard(leaderboard, tallies);
  // Directly: one loop over the file, without FlowMesh.
  const expected = tally(flights.filter(isDelayed));
  const found = differences(tallies, leaderboard, expected);
  printVerdict(found, expected);
  return found.length === 0;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { address: { type: 'string' }, records: { type: 'string' }, resume: { type: 'boolean' } },
  });
  const address = values.address ?? process.env['FLOWMESH_ADDRESS'];
  const records = values.records === undefined ? undefined : Number(values.records);
  const fm = await connect({ address, token: process.env['FLOWMESH_TOKEN'] });
  try {
    const isRight = await runFlights(fm, { records, resume: values.resume });
    if (!isRight) process.exitCode = 1;
  } finally {
    await fm.close();
  }
}
