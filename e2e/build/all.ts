// `npm run e2e:build [-- PART...]` builds the parts that are not in the cache yet; without names, all. Exit
// code 75: this machine cannot, and what it lacks is on the screen.

import { ensureBinaries } from './cache.ts';
import { type Part, parts } from './catalog.ts';
import { home, MACHINE_LACKS, MachineLacks, searchPath } from './machine.ts';

Object.assign(process.env, { PATH: searchPath, HOME: home });
const names = process.argv.slice(2);
const unknown = names.filter((name) => !parts.includes(name as Part));
if (unknown.length > 0) throw new Error(`no such part: ${unknown.join(', ')}; there are ${parts.join(', ')}`);
try {
  await ensureBinaries(names.length > 0 ? (names as Part[]) : parts, (line) => console.log(line));
} catch (error) {
  if (!(error instanceof MachineLacks)) throw error;
  console.error(error.message);
  process.exitCode = MACHINE_LACKS;
}
