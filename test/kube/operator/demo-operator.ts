// An operator of widgets, as a process: what tests start, stop and kill.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { nextConditions } from '../../../operator/kube/conditions.ts';
import { beyondStatus } from '../../../operator/kube/controller.ts';
import type { ControllerHost } from '../../../operator/kube/host.ts';
import { reconciler } from '../../../operator/kube/reconciler.ts';
import { runProcess } from '../../../operator/process.ts';
import { realRuntime } from '../../../operator/runtime.ts';
import { WIDGETS, type Widget } from './support.ts';

function registerWidgets(host: ControllerHost): void {
  const widgets = host.informer<Widget>({ resource: WIDGETS });
  const reconcile = reconciler<Widget, NonNullable<Widget['status']>, undefined>({
    primary: widgets,
    writer: host.writer('demo'),
    recorder: host.recorder('test.flowmesh.io/demo'),
    wallMs: () => host.runtime.wallMs(),
    gather: () => undefined,
    decide: ({ spec, status }, _, nowMs) => ({
      status: {
        ready: true,
        seen: spec?.size ?? 0,
        conditions: nextConditions(
          status?.conditions as never,
          [{ type: 'Ready', status: 'True', reason: 'Seen', message: '' }],
          nowMs,
        ),
      },
    }),
  });
  host.controller({
    name: 'widget',
    primary: widgets,
    concerns: beyondStatus,
    workersMax: 8,
    resyncMs: 10_000,
    reconcile,
  });
}

await runProcess({
  services: [],
  controllers: [registerWidgets],
  args: process.argv.slice(2),
  env: process.env,
  hostname: hostname(),
  uniqueId: randomUUID(),
  runtime: realRuntime,
});
