// Compiled versions of schemas, shared by all shards: those that were used last.
import { type Checker, compileChecker } from '../../crds/payload/checker.ts';
import { invalidAs } from './spec.ts';
import type { SchemaVersion } from './tables.ts';

const COMPILED_MAX = 1000;
/** Of texts: what is compiled takes a multiple of it. */
const CHARS_MAX = 4 * 1024 * 1024;

interface Kept {
  readonly checker: Checker;
  /** What it was made of: another schema may have had the name. */
  readonly fields: string;
  readonly jsonSchema: string;
}

const charsOf = ({ fields, jsonSchema }: Pick<Kept, 'fields' | 'jsonSchema'>) =>
  fields.length + jsonSchema.length;

export class Checkers {
  /** Used last is last. */
  readonly #kept = new Map<string, Kept>();
  #newest = '';
  #chars = 0;

  get count(): number {
    return this.#kept.size;
  }

  /** Throws SCHEMA_INVALID: another version of this program could use it. */
  of(tenant: number, name: string, version: SchemaVersion): Checker {
    const id = `${tenant} ${version.version} ${name}`;
    const known = this.#kept.get(id);
    const { fields, jsonSchema } = version;
    if (known !== undefined && known.fields === fields && known.jsonSchema === jsonSchema) {
      if (this.#newest !== id) {
        this.#kept.delete(id);
        this.#kept.set(id, known);
        this.#newest = id;
      }
      return known.checker;
    }
    const checker = this.judge(name, version);
    this.#drop(id);
    this.#kept.set(id, { checker, fields, jsonSchema });
    this.#newest = id;
    this.#chars += charsOf(version);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= COMPILED_MAX && this.#chars <= CHARS_MAX) break;
      this.#drop(oldest);
    }
    return checker;
  }

  /** A check by it was ended: what it keeps between checks may be half done. */
  forget(tenant: number, name: string, { version }: SchemaVersion): void {
    this.#drop(`${tenant} ${version} ${name}`);
  }

  #drop(id: string): void {
    const known = this.#kept.get(id);
    if (known === undefined) return;
    this.#kept.delete(id);
    this.#chars -= charsOf(known);
  }

  /** Compiles without keeping it. */
  judge(name: string, version: SchemaVersion): Checker {
    return invalidAs(`version ${version.version} of schema ${name}`, () => compileChecker(version));
  }
}
