// Compiled versions of schemas, shared by all shards: those that were used last. A version never changes, so
// what is compiled stays right.
import { type Checker, compileChecker } from '../../crds/payload/checker.ts';
import { invalidAs } from './spec.ts';
import type { SchemaRow, SchemaVersion } from './tables.ts';

const COMPILED_MAX = 1000;
/** Of texts: what is compiled takes a multiple of it. */
const CHARS_MAX = 4 * 1024 * 1024;

interface Kept {
  readonly checker: Checker;
  readonly chars: number;
}

export class Checkers {
  /** Used last is last. */
  readonly #kept = new Map<string, Kept>();
  #newest = '';
  #chars = 0;

  get count(): number {
    return this.#kept.size;
  }

  /** Throws SCHEMA_INVALID: another version of this program could use it. */
  of(schema: Pick<SchemaRow, 'name' | 'uid'>, version: SchemaVersion): Checker {
    const id = `${schema.uid} ${version.version} ${schema.name}`;
    const known = this.#kept.get(id);
    if (known !== undefined) {
      if (this.#newest !== id) {
        this.#kept.delete(id);
        this.#kept.set(id, known);
        this.#newest = id;
      }
      return known.checker;
    }
    const checker = this.judge(schema.name, version);
    const chars = version.fields.length + version.jsonSchema.length;
    this.#kept.set(id, { checker, chars });
    this.#newest = id;
    this.#chars += chars;
    for (const [oldest, { chars: freed }] of this.#kept) {
      if (this.#kept.size <= COMPILED_MAX && this.#chars <= CHARS_MAX) break;
      this.#kept.delete(oldest);
      this.#chars -= freed;
    }
    return checker;
  }

  /** Compiles without keeping it. */
  judge(name: string, version: SchemaVersion): Checker {
    return invalidAs(`version ${version.version} of schema ${name}`, () => compileChecker(version));
  }
}
