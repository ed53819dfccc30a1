// Changes of one thing, one after another, in the order in which they were asked; those of others go on
// beside.
//   X1. One that fails does not keep the next ones back.

export class OneAtATime {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Settles with the last change of it that was asked so far; undefined: there is none. */
  pending(tenant: number, name: string): Promise<unknown> | undefined {
    return this.#last.get(`${tenant} ${name}`);
  }

  async run<R>(tenant: number, name: string, change: () => Promise<R>): Promise<R> {
    const id = `${tenant} ${name}`;
    const before = this.#last.get(id) ?? Promise.resolve();
    const mine = before.then(change, change);
    this.#last.set(id, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(id) === mine) this.#last.delete(id);
    }
  }
}
