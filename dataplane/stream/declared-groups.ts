// Groups that are declared with scaling and have had no member yet: they lag by all that is there, and
// whoever is to start their first worker has to see that. Stand-ins for them are kept here, in memory only.
//   D1. What nobody asks for between two looks is forgotten, with its rates.
import type { GroupCell, StreamCell } from './cells.ts';
import { GroupMeter } from './group-meter.ts';

/** A group, or one that is only declared: then it has no `cell`. */
export type AnyGroup = Omit<GroupCell, 'cell'> & Partial<Pick<GroupCell, 'cell'>>;

export class DeclaredGroups {
  #before = new Map<string, AnyGroup>();
  #now = new Map<string, AnyGroup>();

  /** Once for each look. */
  turn(): void {
    this.#before = this.#now;
    this.#now = new Map();
  }

  *of(stream: StreamCell): Generator<AnyGroup> {
    for (const { name, scaling } of stream.cell.value.consumerGroups)
      if (scaling !== null && !stream.groups.has(name)) yield this.#standIn(stream, name);
  }

  find(stream: StreamCell, group: string): AnyGroup | undefined {
    const spec = stream.cell.value.consumerGroups.find(({ name }) => name === group);
    const isOnlyDeclared = spec !== undefined && spec.scaling !== null && !stream.groups.has(group);
    return isOnlyDeclared ? this.#standIn(stream, group) : undefined;
  }

  #standIn(stream: StreamCell, group: string): AnyGroup {
    const key = `${stream.tenant}\0${stream.cell.value.uid}\0${group}`;
    const known = this.#now.get(key) ?? this.#before.get(key);
    const one = known ?? {
      ...{ stream, group, meter: new GroupMeter() },
      ...{ members: new Map(), assignments: new Map(), fronts: new Map() },
    };
    this.#now.set(key, one);
    return one;
  }
}
