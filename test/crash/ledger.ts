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
  /** Key -> number of the last job of it that was delivered; and of the last one that was acknowledged. */
  readonly keyed = new Map<string, number>();
  readonly keyedAsked = new Map<string, number>();
  /** Partition -> last offset that the group was given. */
  readonly groupOffsets = new Map<number, number>();
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

  /** A job of a key, numbered from 0 by the key's only writer: the next one, or the last one again. */
  keyedDelivery(key: string, n: number): void {
    const last = this.keyed.get(key) ?? -1;
    if (n !== last && n !== last + 1)
      this.violations.push(`job ${n} of key ${key} was delivered after job ${last}: not in order`);
    this.keyed.set(key, Math.max(last, n));
  }

  /** A record of the group: whatever was committed had been delivered, so there is never a gap. */
  consumed(partition: number, offset: number): void {
    const last = this.groupOffsets.get(partition) ?? -1;
    if (offset > last + 1)
      this.violations.push(`the group got ${partition}:${offset} after ${last}: a commit passed what it got`);
    this.groupOffsets.set(partition, Math.max(last, offset));
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
