// What the specs of the webhook stand on: a real API server, the chart's configuration pointed at loopback,
// and operators in this process, under the chart's roles and a clock that can be turned.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { parse } from 'yaml';
import { type ControlPlane, startControlPlane } from '../../e2e/control-plane.ts';
import { until } from '../../e2e/parts/process.ts';
import { startWebhook } from '../../operator/admission/webhook.ts';
import { declaredControllers } from '../../operator/controllers/declared/controller.ts';
import { loadCredentials } from '../../operator/kube/credentials.ts';
import { createLog } from '../../operator/log.ts';
import { type RunningOperator, startOperator } from '../../operator/operator.ts';
import { readOptions } from '../../operator/options.ts';
import { PERMISSIONS } from '../../operator/permissions.ts';
import { realKeys } from '../../operator/resources/key-source.ts';
import { type Runtime, realRuntime } from '../../operator/runtime.ts';
import { applyInstall } from './install.ts';

const SYSTEM = 'flowmesh-system';
export const USER = `system:serviceaccount:${SYSTEM}:flowmesh-operator`;
const GROUPS = ['system:serviceaccounts', `system:serviceaccounts:${SYSTEM}`, 'system:authenticated'];
const NAME = 'flowmesh-operator-webhook';
export const CONFIGURATION = `/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${NAME}`;
const CONFIGURATIONS = {
  group: 'admissionregistration.k8s.io',
  resource: 'validatingwebhookconfigurations',
};
export const SECRET = `/api/v1/namespaces/${SYSTEM}/secrets/${NAME}-tls`;
const template = join(import.meta.dirname, '../../charts/flowmesh/templates/webhook.yaml');
export const MERGE = 'application/merge-patch+json';

// biome-ignore lint/suspicious/noExplicitAny: objects of any kind, read by who asked for them
type Any = any;

export class WebhookFleet {
  readonly plane: ControlPlane;
  /** What the operators take for the time is so much off. */
  offMs = 0;
  readonly log: Record<string, unknown>[] = [];
  /** When it was denied something on purpose. */
  readonly deniedMs: [fromMs: number, untilMs: number][] = [];
  #port = 0;
  #kubeconfig = '';
  readonly #running: RunningOperator[] = [];

  private constructor(plane: ControlPlane) {
    this.plane = plane;
  }

  static async start(): Promise<WebhookFleet> {
    const plane = await startControlPlane();
    const fleet = new WebhookFleet(plane);
    await applyInstall(plane);
    await fleet.#grant();
    fleet.#kubeconfig = await plane.kubeconfigFor(USER, GROUPS);
    return fleet;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.splice(0).map((each) => each.stop()));
    await this.plane.stop();
  }

  async must(method: string, path: string, body?: unknown, type?: string): Promise<Any> {
    const answer = await this.plane.api(method, path, body, type);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.body.message}`);
    return answer.body;
  }

  /** What the chart adds with `webhook.enabled`, from the table that it is generated from. */
  async #grant(): Promise<void> {
    const api = '/apis/rbac.authorization.k8s.io/v1';
    const subjects = [{ kind: 'ServiceAccount', name: 'flowmesh-operator', namespace: SYSTEM }];
    for (const { scope, group, resources, verbs, names } of PERMISSIONS.filter(
      ({ when }) => when === 'webhook.enabled',
    )) {
      const kind = scope === 'cluster' ? 'ClusterRole' : 'Role';
      const at = kind === 'Role' ? `${api}/namespaces/${SYSTEM}/roles` : `${api}/clusterroles`;
      const resourceNames = names?.map((name) => name.replace('OPERATOR', 'flowmesh-operator'));
      const rules = [{ apiGroups: [group], resources, verbs, resourceNames }];
      const metadata = { name: 'flowmesh-operator-webhook' };
      await this.must('POST', at, { metadata, rules });
      const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind, name: metadata.name };
      await this.must('POST', at.replace('roles', 'rolebindings'), { metadata, roleRef, subjects });
    }
  }

  /** The configuration of the chart, by address instead of by Service. */
  async configure(failurePolicy: 'Ignore' | 'Fail', more: object = {}): Promise<void> {
    const [, text = ''] = readFileSync(template, 'utf8').split(/^---$/m);
    const plain = text
      .replace(/\{\{- if not[\s\S]*$/, '')
      .replaceAll('{{ include "flowmesh.fullname" . }}', 'flowmesh-operator')
      .split('\n')
      .filter((line) => !line.includes('{{-'))
      .join('\n')
      .replace('{{ .Values.webhook.failurePolicy }}', failurePolicy)
      .replaceAll(/\{\{.*?\}\}/g, 'x');
    const configuration = parse(plain);
    const [webhook] = configuration.webhooks;
    webhook.clientConfig = { url: `https://127.0.0.1:${this.#port}${webhook.clientConfig.service.path}` };
    Object.assign(webhook, more);
    const before = await this.plane.api('GET', CONFIGURATION);
    // As Helm does it: what the chart does not set stays.
    if (before.status === 200) {
      const [{ clientConfig }] = before.body.webhooks;
      webhook.clientConfig.caBundle = clientConfig.caBundle;
      const { resourceVersion } = before.body.metadata;
      configuration.metadata = { ...configuration.metadata, resourceVersion };
      await this.must('PUT', CONFIGURATION, configuration);
    } else await this.must('POST', CONFIGURATION.slice(0, CONFIGURATION.lastIndexOf('/')), configuration);
  }

  /** On the same port each time. */
  async operator(): Promise<RunningOperator> {
    const flags = ['--kubeconfig', this.#kubeconfig, '--namespaces', 'default', '--lease-namespace', SYSTEM];
    const quiet = ['--metrics-address', 'off', '--probe-address', 'off', '--webhook-service', NAME];
    const options = readOptions([...flags, ...quiet], {}, 'operator');
    const runtime: Runtime = { ...realRuntime, wallMs: () => Date.now() + this.offMs };
    const address = { host: '127.0.0.1', port: this.#port };
    const operator = await startOperator({
      ...{ options, runtime, version: 'test', identity: `operator-${this.#running.length}` },
      credentials: await loadCredentials(options, runtime),
      log: createLog('info', (line) => void this.log.push(JSON.parse(line))),
      controllers: [(host) => declaredControllers(host)],
      services: [
        async (host, { webhookService: service, clusterDomain }, { registry, namespace }) => ({
          name: 'webhook',
          ...(await startWebhook(host, {
            ...{ address, place: { namespace, service, clusterDomain }, keys: realKeys, registry },
            times: { settleMs: 3_000, aloneMs: 60_000, leavingMs: 200 },
          })),
        }),
      ],
    });
    this.#running.push(operator);
    this.#port = operator.services[0]?.port ?? 0;
    await operator.leading;
    return operator;
  }

  async stopOperator(operator: RunningOperator): Promise<void> {
    this.#running.splice(this.#running.indexOf(operator), 1);
    await operator.stop();
  }

  said(event: string): Record<string, unknown>[] {
    return this.log.filter((line) => line['event'] === event);
  }

  /** The API server asks it and takes its word. */
  async answers(): Promise<void> {
    await until('the webhook answers', async () => {
      const bad = queue('probe', { schedules: [NEVER] });
      const { status, body } = await this.plane.api('POST', `${QUEUES}?dryRun=All`, bad);
      return status === 422 && body.message.startsWith('admission webhook');
    });
  }

  /** The operator may not write the configuration meanwhile, as if it had died between its two writes. */
  async unpublished(run: () => Promise<void>): Promise<void> {
    const path = '/apis/rbac.authorization.k8s.io/v1/clusterroles/flowmesh-operator-webhook';
    const { rules } = await this.must('GET', path);
    const fromMs = Date.now();
    await this.must('PATCH', path, { rules: [{ ...rules[0], verbs: ['list', 'watch'] }] }, MERGE);
    await run();
    await this.must('PATCH', path, { rules }, MERGE);
    const isAllowed = async () => {
      const { body } = await this.plane.api('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: { user: USER, resourceAttributes: { ...CONFIGURATIONS, verb: 'patch', name: NAME } },
      });
      return body.status.allowed;
    };
    await until('it may again', isAllowed);
    await this.touch();
    this.deniedMs.push([fromMs, Date.now()]);
  }

  /** A handshake that trusts what the configuration says now: as of an API server that has just started. */
  async handshake(): Promise<string> {
    const { webhooks } = await this.must('GET', CONFIGURATION);
    const ca = Buffer.from(webhooks[0].clientConfig.caBundle, 'base64').toString();
    return new Promise((resolve) => {
      const socket = connect({ port: this.#port, host: '127.0.0.1', ca }, () => {
        resolve('ok');
        socket.destroy();
      });
      socket.on('error', (error: Error) => resolve(error.message));
    });
  }

  /** Makes the leader look, as its next resync would. */
  async touch(): Promise<void> {
    await this.must('PATCH', CONFIGURATION, { metadata: { annotations: { at: `${Date.now()}` } } }, MERGE);
  }
}

export const QUEUES = '/apis/flowmesh.io/v1alpha1/namespaces/default/queues';
export const NEVER = { name: 'nightly', cron: '0 3 31 2 *' };
export const DAILY = { name: 'nightly', cron: '0 3 * * *' };

export const queue = (name: string, spec: object, metadata: object = {}) => ({
  apiVersion: 'flowmesh.io/v1alpha1',
  kind: 'Queue',
  metadata: { name, ...metadata },
  spec: { clusterRef: { name: 'main' }, ...spec },
});
