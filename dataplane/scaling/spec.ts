// What a declaration asks of scaling, with defaults, as it is kept: by queues in their spec, by streams for
// each consumer group.
//   P1. What is kept is as it was written: conditions stay text, so that a newer version reads its own.
import { FlowError, LIMITS } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { DEFAULT_FROM, readPolicy, type Scaled } from '../../crds/based-on.ts';
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

const GROUPS_MAX = 100;

/** Refuses what no policy can be read from, in the words that manifests are refused with. */
export function readScaling(scaled: Scaled, { scaleFrom, scaleTo, basedOn }: pb.Scaling): ScalingSpec {
  const spec = { scaleFrom: scaleFrom ?? DEFAULT_FROM, scaleTo, basedOn };
  const [problem] = readPolicy(scaled, spec).problems ?? [];
  if (problem !== undefined) throw invalid(`scaling: ${problem.message}; ${problem.cure}`);
  return spec;
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
    return { name, scaling: scaling === null ? null : readScaling('Stream', scaling) };
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
