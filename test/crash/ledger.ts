// What a client was promised, and whether the server kept it. Knows nothing of the code under test: only what
// was asked, what was acknowledged, and what came out.

export interface Stored {
  readonly partition: number;
  readonly offset: number;
}

export class Ledger {
  /** Violations, in words. Empty is what everybody wants. */
  readonly violations: string[] = [];
  /** Payload number -> id, once the enqueue was acknowledged. */
  readonly enqueued = new Map<number, string>();
  /** Payload number -> id of every delivery. */
  readonly delivered = new Map<number, string>();
  /** Jobs whose ack was confirmed. */
  readonly done = new Set<string>();
  /** Record number -> where it was acknowledged to be. */
  readonly written = new Map<number, Stored>();
  /** Key -> the last value that was acknowledged, and the last that was asked for; -1: deleted. */
  readonly keys = new Map<string, { acked: number; asked: number }>();
  /** Increments of one hash field that were acknowledged. */
  increments = 0;
  transactions = 0;
  reads = 0;

  delivery(n: number, id: string): void {
    const before = this.delivered.get(n);
    if (before !== undefined && before !== id)
      this.violations.push(`job ${n} exists twice: ${before} and ${id}`);
    const promised = this.enqueued.get(n);
    if (promised !== undefined && promised !== id)
      this.violations.push(`job ${n} was acknowledged as ${promised}, delivered as ${id}`);
    if (this.done.has(id)) this.violations.push(`job ${n} (${id}) was delivered after its ack was confirmed`);
    this.delivered.set(n, id);
  }

  /**
   * A read of a key by its only writer: nothing older than acknowledged, nothing that was never asked for.
   */
  read(key: string, value: number): void {
    this.reads++;
    const { acked, asked } = this.keys.get(key) ?? { acked: -1, asked: -1 };
    if (value === acked || value === asked) return;
    this.violations.push(`key ${key} reads ${value}; acknowledged was ${acked}, asked for ${asked}`);
  }

  /** At the end: every acknowledged enqueue was delivered and done. */
  checkJobs(): void {
    for (const [n, id] of this.enqueued) {
      if (!this.delivered.has(n))
        this.violations.push(`job ${n} (${id}) was acknowledged and never delivered`);
    }
  }

  /** At the end: all records of one partition as they are read, in order. */
  checkPartition(partition: number, records: readonly { offset: number; n: number }[]): void {
    records.forEach((record, i) => {
      if (record.offset !== i)
        this.violations.push(`partition ${partition} has offset ${record.offset} at place ${i}: not dense`);
    });
    const seen = new Map<number, number>();
    for (const { offset, n } of records) {
      const twice = seen.get(n);
      if (twice !== undefined)
        this.violations.push(`record ${n} is twice in partition ${partition}: ${twice} and ${offset}`);
      seen.set(n, offset);
    }
    for (const [n, stored] of this.written) {
      if (stored.partition === partition && seen.get(n) !== stored.offset) {
        this.violations.push(
          `record ${n} was acknowledged at ${partition}:${stored.offset}, and is at ${seen.get(n)}`,
        );
      }
    }
  }
}
