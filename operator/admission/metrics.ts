// What the webhook measures, under the names of controller-runtime where it has one.
//   M1. Labels are kinds of ours, codes and one path: bounded.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { isKind } from '../../crds/definitions.ts';
import type { WebhookMeter } from './server.ts';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const webhook = '/validate';

export function createWebhookMeter(registry: Registry, notAfterMs: () => number | undefined): WebhookMeter {
  const registers = [registry];
  const labelNames = ['webhook'] as const;
  const requests = new Counter({
    name: 'controller_runtime_webhook_requests_total',
    help: 'Total number of admission requests by HTTP status code.',
    labelNames: ['webhook', 'code'] as const,
    registers,
  });
  const seconds = new Histogram({
    name: 'controller_runtime_webhook_latency_seconds',
    help: 'Histogram of the latency of processing admission requests.',
    labelNames,
    buckets: SECONDS,
    registers,
  });
  const inFlight = new Gauge({
    name: 'controller_runtime_webhook_requests_in_flight',
    help: 'Current number of admission requests being served.',
    labelNames,
    registers,
  });
  const decisions = new Counter({
    name: 'flowmesh_operator_webhook_decisions_total',
    help: 'Objects judged, by kind and verdict (allowed, refused).',
    labelNames: ['kind', 'verdict'] as const,
    registers,
  });
  new Gauge({
    name: 'flowmesh_operator_webhook_certificate_expiration_timestamp_seconds',
    help: 'When the certificate that the webhook presents ends; 0 while it has none.',
    registers,
    collect() {
      this.set((notAfterMs() ?? 0) / 1000);
    },
  });
  inFlight.set({ webhook }, 0);
  return {
    began: () => inFlight.inc({ webhook }),
    answered(code, took) {
      inFlight.dec({ webhook });
      requests.inc({ webhook, code });
      seconds.observe({ webhook }, took);
    },
    decided(kind, allowed) {
      const verdict = allowed ? 'allowed' : 'refused';
      decisions.inc({ kind: isKind(kind) ? kind : 'other', verdict });
    },
  };
}
