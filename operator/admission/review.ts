// The AdmissionReview of the API server (admission.k8s.io/v1), as far as a verdict needs it. Pure.
//   R1. What is no review is a BadReview, whose message is for whoever sent it. Nothing else is thrown.
//   R2. Objects are of any shape: the API server has judged them by definitions that may be newer or older.
import { isMapping } from '../../crds/problems.ts';

export const REVIEW_VERSION = 'admission.k8s.io/v1';
const REVIEW_KIND = 'AdmissionReview';

export type Mapping = Readonly<Record<string, unknown>>;

export interface Request {
  readonly uid: string;
  readonly operation: string;
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
  readonly name: string;
  readonly namespace: string;
  /** Empty: the object itself. */
  readonly subResource: string;
  /** As it is to become; unset with a deletion. */
  readonly object: Mapping | undefined;
  /** As it is; unset with a creation. */
  readonly oldObject: Mapping | undefined;
}

/** As in the `details.causes` of every refusal by the API server. */
export interface Cause {
  readonly reason: 'FieldValueInvalid';
  readonly field: string;
  readonly message: string;
}

export interface Decision {
  readonly allowed: boolean;
  readonly causes: readonly Cause[];
  /** Shown by kubectl, whether it is allowed or not. */
  readonly warnings: readonly string[];
  readonly message: string;
}

export class BadReview extends Error {}

export function readReview(text: string): Request {
  let review: unknown;
  try {
    review = JSON.parse(text);
  } catch {
    throw new BadReview('the body is not JSON');
  }
  if (!isMapping(review)) throw new BadReview(`the body is not a JSON object: send an ${REVIEW_KIND}`);
  if (review['apiVersion'] !== REVIEW_VERSION || review['kind'] !== REVIEW_KIND) {
    const is = `${textOf(review['apiVersion']) || 'no apiVersion'} ${textOf(review['kind']) || 'no kind'}`;
    throw new BadReview(`the body is of ${is}: send ${REVIEW_VERSION} ${REVIEW_KIND}`);
  }
  const { request } = review;
  if (!isMapping(request)) throw new BadReview('the review has no request');
  const uid = textOf(request['uid']);
  if (uid === '') throw new BadReview('the request has no uid');
  const kind = isMapping(request['kind']) ? request['kind'] : {};
  return {
    uid,
    operation: textOf(request['operation']),
    kind: { group: textOf(kind['group']), version: textOf(kind['version']), kind: textOf(kind['kind']) },
    name: textOf(request['name']),
    namespace: textOf(request['namespace']),
    subResource: textOf(request['subResource']),
    object: mappingOf(request['object']),
    oldObject: mappingOf(request['oldObject']),
  };
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value.slice(0, 253) : '');
const mappingOf = (value: unknown): Mapping | undefined => (isMapping(value) ? value : undefined);

const UNPROCESSABLE = 422;

export function reviewOf({ uid, kind, name }: Request, decision: Decision): object {
  const { allowed, message, causes, warnings } = decision;
  const details = { name, group: kind.group, kind: kind.kind, causes };
  const status = { status: 'Failure', code: UNPROCESSABLE, reason: 'Invalid', message, details };
  return {
    apiVersion: REVIEW_VERSION,
    kind: REVIEW_KIND,
    response: { uid, allowed, ...(!allowed && { status }), ...(warnings.length > 0 && { warnings }) },
  };
}
