// What a request for external metrics is answered. Pure but for the figures, which are asked for.
//   A1. What is not known is an error, never 0: an autoscaler then leaves the number as it is.
//   A2. A namespace sees what its own queues and streams are, and nothing else: whoever may read metrics
//       there learns of no other.
import { METRICS, quantity } from '../resources/scaling/autoscaler.ts';
import { GROUP, VERSION } from './registration.ts';

export interface Request {
  readonly method: string;
  /** With its query. */
  readonly url: string;
}

export interface Answer {
  readonly code: number;
  readonly body: object;
}

export interface Figures {
  readonly lag: number;
  readonly wanted: number;
}

/** The figures of one subject; `labels` as the autoscaler selects by. Undefined: there is none. */
export type FindFigures = (
  namespace: string,
  labels: Readonly<Record<string, string>>,
) => Promise<Figures> | undefined;

const ROOT = `/apis/${GROUP}/${VERSION}`;
const METRIC_PATH = new RegExp(
  `^${ROOT.replaceAll('.', '[.]')}/namespaces/([a-z0-9-]{1,63})/([a-z0-9-]{1,253})$`,
);

export async function answer({ method, url }: Request, find: FindFigures, nowMs: number): Promise<Answer> {
  const [pathname = '', query = ''] = url.split('?', 2);
  if (method !== 'GET') return failure(405, 'MethodNotAllowed', 'metrics are only read');
  const document = DOCUMENTS[pathname.replace(/\/$/, '')];
  if (document !== undefined) return { code: 200, body: document };
  const [, namespace = '', metric = ''] = METRIC_PATH.exec(pathname) ?? [];
  if (namespace === '') return failure(404, 'NotFound', `there is no ${pathname} here`);
  const figure = Object.entries(METRICS).find(([, name]) => name === metric)?.[0];
  if (figure === undefined) {
    const known = Object.values(METRICS).join(' and ');
    return failure(404, 'NotFound', `there is no metric ${metric}; there are ${known}`);
  }
  const labels = readSelector(new URLSearchParams(query).get('labelSelector') ?? '');
  if (labels === undefined) {
    const cure = 'select by queue=NAME, or stream=NAME,group=NAME, and cluster=NAME';
    return failure(400, 'BadRequest', `the selector is not one of equalities; ${cure}`);
  }
  try {
    const found = find(namespace, labels);
    if (found === undefined) {
      const what = Object.entries(labels).map(([label, name]) => `${label}=${name}`);
      const message = `nothing in namespace ${namespace} that asks for scaling has ${what.join(',')}`;
      return failure(404, 'NotFound', message);
    }
    const { lag, wanted } = await found;
    return { code: 200, body: valueList(metric, labels, figure === 'lag' ? lag : wanted, nowMs) };
  } catch (error) {
    // A1.
    const why = error instanceof Error ? error.message : String(error);
    return failure(503, 'ServiceUnavailable', `it is not known now: ${why}`);
  }
}

/** `a=b,c==d`; undefined: anything else. */
export function readSelector(text: string): Record<string, string> | undefined {
  const labels: Record<string, string> = {};
  for (const term of text.split(',').filter((each) => each !== '')) {
    const [, label = '', value = ''] =
      /^\s*(queue|stream|group|cluster)\s*==?\s*([-A-Za-z0-9_.]{1,63})\s*$/.exec(term) ?? [];
    if (label === '' || Object.hasOwn(labels, label)) return undefined;
    labels[label] = value;
  }
  const isQueue =
    labels['queue'] !== undefined && labels['stream'] === undefined && labels['group'] === undefined;
  const isGroup =
    labels['queue'] === undefined && labels['stream'] !== undefined && labels['group'] !== undefined;
  return isQueue || isGroup ? labels : undefined;
}

function valueList(metricName: string, metricLabels: object, value: number, nowMs: number) {
  const timestamp = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
  return {
    kind: 'ExternalMetricValueList',
    apiVersion: `${GROUP}/${VERSION}`,
    metadata: {},
    items: [{ metricName, metricLabels, timestamp, value: quantity(value) }],
  };
}

export const failure = (code: number, reason: string, message: string): Answer => ({
  code,
  body: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code },
});

const version = { groupVersion: `${GROUP}/${VERSION}`, version: VERSION };
const group = { name: GROUP, versions: [version], preferredVersion: version };

/** For discovery. */
const DOCUMENTS: Readonly<Record<string, object>> = {
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [group] },
  [`/apis/${GROUP}`]: { kind: 'APIGroup', apiVersion: 'v1', ...group },
  [ROOT]: {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: version.groupVersion,
    resources: Object.values(METRICS).map((name) => ({
      ...{ name, singularName: '', namespaced: true, kind: 'ExternalMetricValueList', verbs: ['get'] },
    })),
  },
};
