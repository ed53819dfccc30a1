// What a declaration asks of scaling, with defaults, as it is kept: by queues in their spec, by streams for
// each consumer group.
//   P1. What is kept is as it was written: conditions stay text, so that a newer version reads its own.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ByteReader, ByteWriter } from '../storage/bytes.ts';

export interface ScalingSpec {
  readonly scaleFrom: number;
  readonly scaleTo: number;
  readonly basedOn: readonly string[];
}

/** A consumer group about which something is declared. */
export interface ConsumerGroupSpec {
  readonly name: string;
  /** Null: its members are not scaled. */
  readonly scaling: ScalingSpec | null;
}

const SCALE_FROM_DEFAULT = 1;
const SCALE_TO_DEFAULT = 100;
const WORKERS_MAX = 100_000;
const CONDITIONS_MAX = 16;
const CONDITION_LENGTH_MAX = 128;
const GROUPS_MAX = 100;

export function readScaling({ scaleFrom, scaleTo, basedOn }: pb.Scaling): ScalingSpec {
  const from = scaleFrom ?? SCALE_FROM_DEFAULT;
  const to = scaleTo || Math.max(from, SCALE_TO_DEFAULT);
  if (Math.max(from, to) > WORKERS_MAX)
    throw invalid(`scaleFrom and scaleTo are at most ${WORKERS_MAX}, not ${Math.max(from, to)}`);
  if (from > to) throw invalid(`scaleFrom ${from} is above scaleTo ${to}: swap them or raise scaleTo`);
  if (basedOn.length > CONDITIONS_MAX)
    throw invalid(`basedOn has ${basedOn.length} conditions: at most ${CONDITIONS_MAX} are accepted`);
  const long = basedOn.find((each) => each.length > CONDITION_LENGTH_MAX);
  if (long !== undefined)
    throw invalid(`a condition of basedOn has ${long.length} characters: at most ${CONDITION_LENGTH_MAX}`);
  return { scaleFrom: from, scaleTo: to, basedOn };
}

export function readConsumerGroups(groups: readonly pb.ConsumerGroupSpec[]): ConsumerGroupSpec[] {
  if (groups.length > GROUPS_MAX)
    throw invalid(`${groups.length} consumer groups are declared: at most ${GROUPS_MAX} are accepted`);
  const names = new Set<string>();
  return groups.map(({ name, scaling }) => {
    const size = Buffer.byteLength(name);
    if (size === 0 || size > LIMITS.nameBytes)
      throw invalid(`consumer group name of ${size} bytes; 1 to ${LIMITS.nameBytes} are accepted`);
    if (names.has(name)) throw invalid(`consumer group ${name} is declared twice`);
    names.add(name);
    return { name, scaling: scaling === null ? null : readScaling(scaling) };
  });
}

export const scalingMessage = ({ scaleFrom, scaleTo, basedOn }: ScalingSpec): pb.ScalingInput => ({
  ...{ scaleFrom, scaleTo },
  basedOn: [...basedOn],
});

export const consumerGroupMessage = ({ name, scaling }: ConsumerGroupSpec): pb.ConsumerGroupSpecInput => ({
  name,
  scaling: scaling && scalingMessage(scaling),
});

/** Bytes: how many, and for each its name and whether, and if so how, it is scaled. */
export function writeConsumerGroups(groups: readonly ConsumerGroupSpec[], w: ByteWriter): void {
  w.varint(groups.length);
  for (const { name, scaling } of groups) {
    w.text(name);
    w.u8(scaling === null ? 0 : 1);
    if (scaling === null) continue;
    w.varint(scaling.scaleFrom);
    w.varint(scaling.scaleTo);
    w.varint(scaling.basedOn.length);
    for (const condition of scaling.basedOn) w.text(condition);
  }
}

export function readConsumerGroupRows(r: ByteReader): ConsumerGroupSpec[] {
  const each = <T>(read: () => T): T[] => Array.from({ length: r.varint() }, read);
  return each(() => {
    const name = r.text();
    if (r.u8() === 0) return { name, scaling: null };
    const scaleFrom = r.varint();
    const scaleTo = r.varint();
    return { name, scaling: { scaleFrom, scaleTo, basedOn: each(() => r.text()) } };
  });
}

const invalid = (message: string) => new FlowError('INVALID_ARGUMENT', message);
