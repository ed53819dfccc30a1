// `spec` is `test`, with labels that say what the cluster must be able to do. Where it cannot, the spec is
// skipped, and its title says why: never silently.

import { type TestOptions, test } from 'vitest';
import type { Abilities, Label } from '../../drivers/driver.ts';

/** Unset: any cluster that KUBECONFIG names; it is taken to be able to do everything. */
const abilities: Abilities = JSON.parse(process.env['FLOWMESH_E2E_ABILITIES'] ?? '{"lacks":{}}');

export function spec(
  title: string,
  labels: readonly Label[],
  body: () => Promise<void>,
  options: TestOptions = {},
) {
  const reason = reasonToSkip(labels, abilities);
  if (reason === undefined) test(title, options, body);
  else test.skip(`${title} [skipped: ${reason}]`, options, body);
}

export function reasonToSkip(labels: readonly Label[], { lacks, only }: Abilities): string | undefined {
  if (only !== undefined && (only.label === undefined || !labels.includes(only.label))) return only.reason;
  const missing = labels.find((label) => lacks[label] !== undefined);
  return missing && `${missing}: ${lacks[missing]}`;
}
