// What is measured of one consumer group: rates over its partitions, and partitions that stand still.
//   P1. A partition stands still that is assigned and has records to read of which none has been committed
//       for long. It is told apart, because more members cannot help it.
//   P2. What a seek skips or brings back is neither progress nor new.
//   P3. Nobody was busy while nobody looked: who comes after a long rest has not worked all that time.
import { Meter } from '../scaling/meter.ts';
import { NOBODY } from './assignment.ts';
import type { partitionFigures } from './group-figures.ts';

type Figures = ReturnType<typeof partitionFigures>;

interface Seen {
  committed: number;
  end: number;
  epoch: number;
  /** Since when nothing has been committed although something could be; 0: that is not so. */
  stuckSinceMs: number;
}

/** Looks are a second apart, or there was a rest. */
const REST_MS = 10_000;

export class GroupMeter {
  readonly meter = new Meter();
  readonly #seen: Seen[] = [];
  #arrived = 0;
  #completed = 0;
  #busyMs = 0;
  #atMs = 0;

  look(nowMs: number, partitions: readonly Figures[], busyMembers: number): void {
    for (const each of partitions) this.#lookAt(nowMs, each);
    const passedMs = Math.max(0, nowMs - this.#atMs);
    if (passedMs < REST_MS) this.#busyMs += busyMembers * passedMs; // P3
    this.#atMs = nowMs;
    this.meter.look(nowMs, { arrived: this.#arrived, completed: this.#completed, busyMs: this.#busyMs });
  }

  /** Rates that have not faded away. */
  get isMoving(): boolean {
    return this.meter.arrivalsPerSecond > 0 || this.meter.completionsPerSecond > 0;
  }

  isStalled(partition: number, nowMs: number): boolean {
    const sinceMs = this.#seen[partition]?.stuckSinceMs ?? 0;
    return sinceMs > 0 && nowMs - sinceMs >= this.meter.stallMs;
  }

  #lookAt(nowMs: number, { partition, committed, end, epoch, lag, memberId }: Figures): void {
    const seen = this.#seen[partition];
    if (seen === undefined) {
      this.#seen[partition] = { committed, end, epoch, stuckSinceMs: 0 };
      return;
    }
    this.#arrived += Math.max(0, end - seen.end);
    // A seek comes with a new epoch, as a new owner does.
    if (epoch === seen.epoch) this.#completed += Math.max(0, committed - seen.committed);
    const mayMove = lag > 0 && memberId !== NOBODY;
    if (!mayMove || committed !== seen.committed || epoch !== seen.epoch)
      seen.stuckSinceMs = mayMove ? nowMs : 0;
    else if (seen.stuckSinceMs === 0) seen.stuckSinceMs = nowMs;
    Object.assign(seen, { committed, end, epoch });
  }
}
