// Conditions of `scaling.basedOn`: one reader for the offline checks, the webhook and the data plane. The
// definitions have the same in CEL, for the API server.
//   B1. What is accepted here is what the rules of crds/queue.yaml and stream.yaml accept, and nothing else.
//   B2. A policy that is given out can be met: its thresholds are above 0, and `from` is not above `to`.
import { quoted } from './problems.ts';
import { nearest } from './suggest.ts';
import { parseDurationMs } from './values.ts';

/** What spec.scaling asks for, its conditions parsed. A threshold of 0: there is none. */
export interface ScalingPolicy {
  readonly from: number;
  readonly to: number;
  readonly lagMax: number;
  readonly ageMaxMs: number;
  readonly processingMaxMs: number;
  /** Completions per second and worker that are too few. */
  readonly throughputMin: number;
}

/** Who is scaled: the workers of a queue, or the members of a consumer group of a stream. */
export type Scaled = 'Queue' | 'Stream';

/** As declared. */
export interface ScalingSpec {
  readonly scaleFrom?: number | undefined;
  readonly scaleTo: number;
  readonly basedOn?: readonly string[] | undefined;
}

export interface ConditionProblem {
  /** Which of the conditions; undefined: the numbers of workers. */
  readonly index?: number;
  readonly message: string;
  readonly cure: string;
}

/** Where nothing is said: half a minute is what people wait for without asking. */
export const DEFAULT_CONDITIONS: readonly string[] = ['message_age > 30s'];
export const DEFAULT_FROM = 1;
export const CONDITIONS_MAX = 16;
export const WORKERS_MAX = 100_000;

type Thresholds = Omit<ScalingPolicy, 'from' | 'to'>;
type Reading = { field: keyof Thresholds; value: number } | Omit<ConditionProblem, 'index'>;

/** Of what spec asks for, the policy or everything that is wrong with it; never both, never neither. */
export function readPolicy(
  scaled: Scaled,
  { scaleFrom: from = DEFAULT_FROM, scaleTo: to, basedOn = [] }: ScalingSpec,
): { policy: ScalingPolicy; problems?: never } | { policy?: never; problems: ConditionProblem[] } {
  const problems: ConditionProblem[] = rangeProblems(from, to);
  if (basedOn.length > CONDITIONS_MAX)
    problems.push({
      message: `has more than ${CONDITIONS_MAX} conditions`,
      cure: 'keep one for each signal',
    });
  const thresholds = { lagMax: 0, ageMaxMs: 0, processingMaxMs: 0, throughputMin: 0 };
  const conditions = basedOn.length === 0 ? DEFAULT_CONDITIONS : basedOn.slice(0, CONDITIONS_MAX);
  for (const [index, condition] of conditions.entries()) {
    const reading = readCondition(scaled, condition);
    if (!('field' in reading)) problems.push({ index, ...reading });
    else if (thresholds[reading.field] === 0) thresholds[reading.field] = reading.value;
    else
      problems.push({
        index,
        message: `${quoted(condition)} is the second about its signal`,
        cure: 'keep one',
      });
  }
  return problems.length > 0 ? { problems } : { policy: { from, to, ...thresholds } };
}

function rangeProblems(from: number, to: number): ConditionProblem[] {
  const isCount = (value: number, min: number) =>
    Number.isInteger(value) && value >= min && value <= WORKERS_MAX;
  if (!isCount(to, 1))
    return [{ message: `scaleTo is ${to}`, cure: `write how many workers at most, 1 to ${WORKERS_MAX}` }];
  if (!isCount(from, 0))
    return [
      { message: `scaleFrom is ${from}`, cure: `write how many workers at least, 0 to ${WORKERS_MAX}` },
    ];
  const message = `scaleFrom is ${from} and above scaleTo, ${to}`;
  return from > to ? [{ message, cure: 'swap them or raise scaleTo' }] : [];
}

interface Signal {
  readonly field: keyof Thresholds;
  readonly calls: '>' | '<';
  readonly parse: (number: string) => number | undefined;
  readonly cure: (name: string) => string;
}

const TIME = {
  calls: '>',
  parse: (number: string) => (TIME_PATTERN.test(number) ? parseDurationMs(number) : undefined),
  cure: (name: string) => `write a duration with units, such as ${name} > 30s or ${name} > 1m30s`,
} as const;

const signalsOf = (scaled: Scaled): Readonly<Record<string, Signal>> => ({
  [lagOf(scaled)]: {
    field: 'lagMax',
    calls: '>',
    parse: wholeNumber,
    cure: (name) => `write a whole number without a unit, such as ${name} > 10_000`,
  },
  message_age: { field: 'ageMaxMs', ...TIME },
  processing_time: { field: 'processingMaxMs', ...TIME },
  throughput: {
    field: 'throughputMin',
    calls: '<',
    parse: perSecond,
    cure: (name) => `write a rate per worker, such as ${name} < 5/s, 0.5/s or 30/m`,
  },
});

export const lagOf = (scaled: Scaled) => (scaled === 'Queue' ? 'queue_lag' : 'stream_lag');

const SHAPE = /^([a-z][a-z_]{0,62}) *(<|<=|>|>=) *([0-9][0-9a-z_.]*(?:\/[a-z]+|%)?)$/;
/** Longer texts are refused by the schema as well. */
const CHARACTERS_MAX = 128;
/** The larger unit first, as in the rules for durations. */
const TIME_PATTERN = /^([1-9]\d{0,4}d)?([1-9]\d{0,4}h)?([1-9]\d{0,5}m)?([1-9]\d{0,7}s)?([1-9]\d{0,9}ms)?$/;

function readCondition(scaled: Scaled, condition: string): Reading {
  const lag = lagOf(scaled);
  const said = quoted(condition);
  const [, name = '', comparison = '', number = ''] =
    condition.length > CHARACTERS_MAX ? [] : (SHAPE.exec(condition) ?? []);
  if (name === '') {
    const cure = `write a signal, a comparison and a number, such as ${lag} > 10_000`;
    return { message: `${said} is not a condition`, cure };
  }
  const signals = signalsOf(scaled);
  const signal = Object.hasOwn(signals, name) ? signals[name] : undefined;
  if (signal === undefined) {
    const of = scaled === 'Queue' ? 'queue' : 'consumer group';
    return { message: `${said} does not name a signal of a ${of}`, cure: signalCure(scaled, name) };
  }
  const { calls, field, parse, cure } = signal;
  if (!comparison.startsWith(calls)) {
    const how = calls === '>' ? 'too much' : 'too little';
    const example = `${name} ${calls} ${number}`;
    return {
      message: `${said} compares the wrong way`,
      cure: `${how} of it calls for more: write ${example}`,
    };
  }
  const value = parse(number);
  if (value !== undefined && value > 0) return { field, value };
  const message = /^[0_.]+(?:[a-z%]|\/|$)/.test(number)
    ? `${said} is always so, or never: 0 is no threshold`
    : `${said} has the wrong unit or number for ${name}`;
  return { message, cure: cure(name) };
}

function wholeNumber(text: string): number | undefined {
  return /^[1-9](_?[0-9]){0,14}$/.test(text) ? Number(text.replaceAll('_', '')) : undefined;
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

function perSecond(text: string): number | undefined {
  const match = /^((?:0|[1-9](?:_?[0-9]){0,8})(?:\.[0-9]{1,3})?)\/(s|m|h)$/.exec(text);
  if (match === null) return undefined;
  return Number((match[1] ?? '').replaceAll('_', '')) / (UNIT_SECONDS[match[2] ?? ''] ?? 1);
}

function signalCure(scaled: Scaled, name: string): string {
  const near = nearestSignal(scaled, name);
  return near === undefined ? `write ${Object.keys(signalsOf(scaled)).join(', ')}` : `did you mean ${near}?`;
}

/** What a condition about an unknown signal may have meant; undefined: the signal is known, or no guess. */
export function suggestedSignal(scaled: Scaled, condition: string): string | undefined {
  const name = condition.length > CHARACTERS_MAX ? undefined : SHAPE.exec(condition)?.[1];
  if (name === undefined || Object.hasOwn(signalsOf(scaled), name)) return undefined;
  return nearestSignal(scaled, name);
}

/** A slip, or the right thing by the name of other systems: `age`, `queue_depth`, `stream_lag` of a queue. */
function nearestSignal(scaled: Scaled, name: string): string | undefined {
  const names = Object.keys(signalsOf(scaled));
  if (/(?:^|_)(?:lag|depth|backlog|length)$/.test(name)) return lagOf(scaled);
  const lastWord = (text: string) => text.split('_').at(-1);
  return nearest(name, names) ?? names.find((each) => lastWord(each) === lastWord(name));
}
