// Unary enqueues that wait for room in a full queue whose policy is to block. Owns who waits, in order of
// arrival; the streams need none of it, because their clients hold back what was refused and send it again.
//   F1. Whoever waits is bounded in number, bytes and time; beyond that QUEUE_FULL comes as ever.
//   F2. A full queue costs one timer, whoever waits.
import { FlowError } from '@flowmesh/protocol';
import type { Runtime } from '../runtime.ts';
import type { ShardPort } from '../shard/state-machine.ts';
import type { QueueCell } from './cell.ts';
import type { EnqueueCommand, EnqueueReply } from './commands.ts';

const WAITING_MAX = 1000;
const WAITING_BYTES_MAX = 16 * 1024 * 1024;
/** Without a deadline of the caller. */
const WAIT_MS_MAX = 30_000;
const LOOK_MS = 20;

interface Waiting {
  readonly shard: ShardPort;
  readonly command: EnqueueCommand;
  /** Monotonic. */
  readonly untilMs: number;
  readonly refusal: unknown;
  readonly resolve: (reply: Promise<EnqueueReply>) => void;
  readonly reject: (error: unknown) => void;
}

export class FullQueues {
  readonly #runtime: Runtime;
  readonly #rooms = new Map<QueueCell, Waiting[]>();
  #bytes = 0;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Enqueues, at once if there is room. `cell`: undefined if the queue is being made. */
  async enqueue(
    shard: ShardPort,
    cell: QueueCell | undefined,
    command: EnqueueCommand,
  ): Promise<EnqueueReply> {
    const isBlocking = cell !== undefined && cell.spec.onFull === 'block';
    // Nobody overtakes those who wait.
    const known = isBlocking ? this.#rooms.get(cell) : undefined;
    if (cell === undefined || known === undefined) {
      try {
        return await shard.call<EnqueueReply>(command);
      } catch (error) {
        if (cell === undefined || !isBlocking || !isFull(error)) throw error;
        return this.#wait(shard, cell, command, error);
      }
    }
    const refusal = new FlowError('QUEUE_FULL', `queue ${cell.name} is full, and others wait for room`, {
      retryAfterMs: 1000,
    });
    return this.#wait(shard, cell, command, refusal);
  }

  #wait(shard: ShardPort, cell: QueueCell, command: EnqueueCommand, refusal: unknown): Promise<EnqueueReply> {
    const room = this.#rooms.get(cell) ?? [];
    // A batch larger than the queue will never fit.
    const isHopeless = command.head.count > cell.spec.maxDepth;
    const isCrowded = room.length >= WAITING_MAX || this.#bytes + command.batch.length > WAITING_BYTES_MAX;
    if (isHopeless || isCrowded) return Promise.reject(refusal);
    const { deadlineMs } = command.caller;
    const leftMs = deadlineMs > 0 ? deadlineMs - this.#runtime.wallMs() : WAIT_MS_MAX;
    const untilMs = this.#runtime.monotonicMs() + Math.min(WAIT_MS_MAX, leftMs);
    return new Promise((resolve, reject) => {
      room.push({ shard, command, untilMs, refusal, resolve, reject });
      this.#bytes += command.batch.length;
      if (this.#rooms.has(cell)) return;
      this.#rooms.set(cell, room);
      this.#lookLater(cell);
    });
  }

  #lookLater(cell: QueueCell): void {
    this.#runtime.after(LOOK_MS, () => this.#look(cell));
  }

  #look(cell: QueueCell): void {
    const room = this.#rooms.get(cell) ?? [];
    const nowMs = this.#runtime.monotonicMs();
    let depth = cell.depth;
    const staying = room.filter((waiting) => {
      const { count } = waiting.command.head;
      if (waiting.untilMs <= nowMs) waiting.reject(waiting.refusal);
      else if (cell.spec.maxDepth === 0 || depth + count <= cell.spec.maxDepth) {
        waiting.resolve(this.#again(cell, waiting));
      } else {
        // Those behind it wait, too: a large batch is not overtaken for ever by small ones.
        depth = Number.POSITIVE_INFINITY;
        return true;
      }
      depth += count;
      this.#bytes -= waiting.command.batch.length;
      return false;
    });
    if (staying.length === 0) {
      this.#rooms.delete(cell);
      return;
    }
    this.#rooms.set(cell, staying);
    this.#lookLater(cell);
  }

  /** Streams may have taken the room meanwhile. */
  async #again(cell: QueueCell, { shard, command, untilMs, refusal }: Waiting): Promise<EnqueueReply> {
    try {
      return await shard.call<EnqueueReply>(command);
    } catch (error) {
      if (!isFull(error) || this.#runtime.monotonicMs() >= untilMs) throw error;
      return this.#wait(shard, cell, command, refusal);
    }
  }
}

const isFull = (error: unknown): boolean => error instanceof FlowError && error.code === 'QUEUE_FULL';
