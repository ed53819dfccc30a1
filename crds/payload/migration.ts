// Steps from one version of a payload to the next, as they are declared: their form only, as nobody carries
// them out yet.
import type { JsonValue } from './language.ts';
import { SchemaProblem } from './problem.ts';

const STEPS_MAX = 100;
const FORMS: Record<string, readonly string[]> = {
  rename: ['from', 'to'],
  set: ['field', 'value'],
  remove: ['field'],
};

/** Throws SchemaProblem. */
export function checkMigration(steps: JsonValue): void {
  if (!Array.isArray(steps)) throw new SchemaProblem('', 'migrate is not a list of steps');
  if (steps.length > STEPS_MAX)
    throw new SchemaProblem('', `migrate has ${steps.length} steps, at most ${STEPS_MAX} are accepted`);
  steps.forEach((step, index) => {
    const place = `migrate/${index}`;
    const [entry, ...more] = typeof step === 'object' && step !== null ? Object.entries(step) : [];
    const [kind = '', terms] = entry ?? [];
    const names = Object.hasOwn(FORMS, kind) ? FORMS[kind] : undefined;
    if (names === undefined || more.length > 0)
      throw new SchemaProblem(place, `is one of ${Object.keys(FORMS).join(', ')}, and nothing else`);
    const given = typeof terms === 'object' && terms !== null ? (terms as Record<string, unknown>) : {};
    for (const name of names) {
      const isThere = name === 'value' ? Object.hasOwn(given, name) : isName(given[name]);
      if (!isThere) throw new SchemaProblem(place, `${kind} needs ${names.join(' and ')}`);
    }
  });
}

const isName = (value: unknown): boolean => typeof value === 'string' && value !== '' && value.length <= 255;
