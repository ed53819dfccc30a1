// Tells a person once what is accepted and has no effect, however many resources have it and however often
// they are read.
import type { Problem } from '../crds/problems.ts';
import { count } from './text.ts';

/** The same field of the same kind, whichever the resource and the entry of a list. */
const identity = ({ subject, field, message }: Problem) =>
  `${subject.split(' ', 1)[0]} ${field.replaceAll(/\[\d+\]/g, '[]')} ${message}`;

/** Returns a function that takes all there is to say and leaves what has not been said yet. */
export function createTeller(): (notices: readonly Problem[]) => Problem[] {
  const told = new Set<string>();
  return (notices) => {
    const fresh = Map.groupBy(
      notices.filter((each) => !told.has(identity(each))),
      identity,
    );
    for (const each of fresh.keys()) told.add(each);
    return [...fresh.values()].flatMap(([first, ...others]) => {
      if (first === undefined || others.length === 0) return first ?? [];
      const places = others.length === 1 ? 'at another place' : `at ${count(others.length)} other places`;
      return { ...first, message: `${first.message} (and ${places})` };
    });
  };
}
