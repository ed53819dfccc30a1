// metav1.Condition lists: how the next one follows from the one before.
//   N1. lastTransitionTime changes when, and only when, the status of the condition does.
//   N2. Types that are not wanted any more are dropped; the order is that of `wanted`.

export type ConditionStatus = 'True' | 'False' | 'Unknown';

export interface Condition {
  type: string;
  status: ConditionStatus;
  reason: string;
  message: string;
  observedGeneration?: number;
  lastTransitionTime: string;
}

export type WantedCondition = Omit<Condition, 'lastTransitionTime'>;

export function nextConditions(
  before: readonly Condition[] | undefined,
  wanted: readonly WantedCondition[],
  nowMs: number,
): Condition[] {
  const now = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
  return wanted.map((each) => {
    const was = before?.find(({ type }) => type === each.type);
    return { ...each, lastTransitionTime: was?.status === each.status ? was.lastTransitionTime : now };
  });
}

export function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((each) => each.type === type);
}
