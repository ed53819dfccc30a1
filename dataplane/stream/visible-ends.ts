// How far each partition may be read. A log runs ahead of the disk: what was appended in the open batch and
// in the one on its way could still be lost, and nobody may see it.
//   E1. `visibleEnd` grows to what a batch had appended once that batch is durable, never before.
//   E2. One wait per journal entry, whatever the number of appends in it.
import type { PartitionCell } from './cells.ts';

interface Round {
  readonly position: number;
  readonly ends: Map<PartitionCell, number>;
}

export class VisibleEnds {
  #settled: (() => Promise<void>) | null = null;
  #open: Round | null = null;

  /** From now on appends are live; before, in replay, they are durable already. */
  attach(settled: () => Promise<void>): void {
    this.#settled = settled;
  }

  /** The log's end changed in the journal entry `position`: an append, or its rollback. */
  changed(partition: PartitionCell, position: number): void {
    const end = partition.log.endOffset;
    if (this.#settled === null) {
      partition.visibleEnd = end;
      return;
    }
    if (this.#open === null || this.#open.position !== position)
      this.#open = this.#begin(position, this.#settled);
    this.#open.ends.set(partition, end);
  }

  #begin(position: number, settled: () => Promise<void>): Round {
    const round: Round = { position, ends: new Map() };
    settled().then(
      () => this.#finish(round),
      // The shard has failed and answers nobody any more: what was appended stays unseen.
      () => {},
    );
    return round;
  }

  #finish(round: Round): void {
    if (this.#open === round) this.#open = null;
    // A member that reads many partitions is woken once.
    const woken = new Set<() => void>();
    for (const [partition, end] of round.ends) {
      if (end <= partition.visibleEnd) continue;
      partition.visibleEnd = end;
      for (const watcher of partition.watchers) woken.add(watcher);
    }
    for (const watcher of woken) watcher();
  }
}
