// Whether no two items of a list say the same: in one pass, whatever the items are.
import { canonical, type JsonValue } from './language.ts';

export function isUnique(items: readonly JsonValue[]): boolean {
  const seen = new Set<string>();
  // 1 and 1.0 are one number once they are parsed; -0 is written as 0.
  for (const item of items) if (seen.size === seen.add(canonical(item)).size) return false;
  return true;
}
