// What clients saw of keys, and whether any order of it makes sense.
import { type Call, nonlinear } from './linear.ts';
import type { Sim } from './sim.ts';

/** One operation and its answer. Answers are what the client was told, unchanged. */
export type KeyOp =
  | { readonly do: 'set'; readonly value: string; readonly revision: number }
  /** `found`: the revision was as asked. */
  | {
      readonly do: 'cas';
      readonly value: string;
      readonly ifRevision: number;
      readonly found: boolean;
      readonly revision: number;
    }
  | { readonly do: 'get'; readonly found: boolean; readonly value: string; readonly revision: number }
  | { readonly do: 'delete'; readonly found: boolean }
  | { readonly do: 'increment'; readonly delta: number; readonly integer: number; readonly revision: number }
  | { readonly do: 'field-set'; readonly field: string; readonly value: string; readonly added: number }
  | { readonly do: 'field-delete'; readonly field: string; readonly removed: number }
  | { readonly do: 'fields'; readonly fields: string };

interface State {
  /** null: no such key. Of a hash: its fields, in order, as JSON. */
  readonly value: string | null;
  readonly revision: number;
  /** No revision comes twice, not even after a deletion. */
  readonly newest: number;
}

const START: State = { value: null, revision: 0, newest: 0 };

export class KvBook {
  readonly #sim: Sim;
  readonly #calls = new Map<string, Call<KeyOp>[]>();

  constructor(sim: Sim) {
    this.#sim = sim;
  }

  add(key: string, call: Call<KeyOp>): void {
    const calls = this.#calls.get(key);
    if (calls === undefined) this.#calls.set(key, [call]);
    else calls.push(call);
  }

  check(): void {
    for (const [key, calls] of this.#calls) {
      const bad = nonlinear(
        calls,
        START,
        step,
        (state) => `${state.value} ${state.revision} ${state.newest}`,
      );
      if (bad === null) continue;
      const told = JSON.stringify({ key, after: bad.done, state: bad.state, stuck: bad.stuck });
      this.#sim.broken('keys are linearizable', told);
    }
  }
}

function step(state: State, op: KeyOp): State | undefined {
  switch (op.do) {
    case 'set':
      return written(state, op.value, op.revision);
    case 'cas':
      if (!op.found)
        return state.revision === op.revision && op.ifRevision !== state.revision ? state : undefined;
      return state.revision === op.ifRevision ? written(state, op.value, op.revision) : undefined;
    case 'get':
      if (!op.found) return state.value === null ? state : undefined;
      return state.value === op.value && state.revision === op.revision ? state : undefined;
    case 'delete':
      if (op.found !== (state.value !== null)) return undefined;
      return op.found ? { ...state, value: null, revision: 0 } : state;
    case 'increment': {
      const sum = Number(state.value ?? 0) + op.delta;
      return sum === op.integer ? written(state, String(sum), op.revision) : undefined;
    }
    case 'field-set': {
      const fields = fieldsOf(state);
      if (op.added !== (fields[op.field] === undefined ? 1 : 0)) return undefined;
      return hash(state, { ...fields, [op.field]: op.value });
    }
    case 'field-delete': {
      const { [op.field]: before, ...rest } = fieldsOf(state);
      if (op.removed !== (before === undefined ? 0 : 1)) return undefined;
      return before === undefined ? state : hash(state, rest);
    }
    case 'fields':
      return JSON.stringify(sorted(fieldsOf(state))) === op.fields ? state : undefined;
  }
}

const written = (state: State, value: string, revision: number): State | undefined =>
  revision > state.newest ? { value, revision, newest: revision } : undefined;

const fieldsOf = (state: State): Record<string, string> =>
  state.value === null ? {} : JSON.parse(state.value);

const hash = (state: State, fields: Record<string, string>): State => ({
  ...state,
  value: Object.keys(fields).length === 0 ? null : JSON.stringify(sorted(fields)),
});

export const sorted = (fields: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
