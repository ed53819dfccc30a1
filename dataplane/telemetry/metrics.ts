// What /metrics says. Figures of shards, queues and streams are asked for when somebody scrapes; calls are
// counted as they happen, in plain fields, because a histogram is too slow for one message of a stream.
//   M1. Labels are names of declared things, never keys, ids or clients, and never more than NAMES_MAX of a
//       kind.
//   M2. A scrape answers even when the fabric does not: its own figures are left out, `flowmesh_up` is 0.
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import { createFigures, type FiguresSource } from './figures.ts';

/** Calls of one rpc or route. */
export interface CallMeter {
  /** A unary call or a stream ended. `code` is OK or a FlowMesh error code. */
  ended(code: string, ms: number): void;
  /** Messages of streams; plain fields, read at scrape time. */
  received: number;
  sent: number;
  open: number;
}

export interface Metrics {
  /** The meter of a gRPC path or an HTTP route; the same object for the same name. */
  meter(protocol: 'grpc' | 'http', operation: string): CallMeter;
  readonly contentType: string;
  /** The whole exposition. */
  text(): Promise<string>;
}

/** Seconds; from one fsync of a fast disk to a long poll. */
const LATENCY_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30];

export interface MetricsOptions {
  /** When the certificate that is shown runs out, ms since the epoch. Absent: none is. */
  readonly certificateEndsMs?: (() => number) | undefined;
}

export function createMetrics(fabric: FiguresSource, { certificateEndsMs }: MetricsOptions = {}): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const figures = createFigures(fabric, registry);

  const calls = new Counter({
    name: 'flowmesh_api_calls_total',
    help: 'Calls that ended, by protocol, operation and code (OK or a FlowMesh error code).',
    labelNames: ['protocol', 'operation', 'code'] as const,
    registers,
  });
  const latency = new Histogram({
    name: 'flowmesh_api_call_seconds',
    help: 'How long calls took; long polls and streams count from open to end.',
    labelNames: ['protocol', 'operation'] as const,
    buckets: LATENCY_BUCKETS,
    registers,
  });
  const messages = new Counter({
    name: 'flowmesh_api_stream_messages_total',
    help: 'Messages on gRPC streams, by operation and direction (received, sent).',
    labelNames: ['operation', 'direction'] as const,
    registers,
  });
  const open = figures.gauge('flowmesh_api_open_calls', 'Calls and streams that are open now.', [
    'protocol',
    'operation',
  ]);

  const certificate =
    certificateEndsMs &&
    figures.gauge(
      'flowmesh_tls_certificate_expiry_timestamp_seconds',
      'When the certificate of the listeners runs out.',
      [],
    );

  const meters = new Map<string, { protocol: string; operation: string; meter: CallMeter }>();

  function meter(protocol: 'grpc' | 'http', operation: string): CallMeter {
    const known = meters.get(`${protocol} ${operation}`);
    if (known) return known.meter;
    const created: CallMeter = {
      ended(code, ms) {
        calls.inc({ protocol, operation, code });
        latency.observe({ protocol, operation }, ms / 1000);
      },
      received: 0,
      sent: 0,
      open: 0,
    };
    meters.set(`${protocol} ${operation}`, { protocol, operation, meter: created });
    return created;
  }

  function readMeters(): void {
    messages.reset();
    open.reset();
    for (const { protocol, operation, meter } of meters.values()) {
      open.set({ protocol, operation }, meter.open);
      if (meter.received > 0) messages.inc({ operation, direction: 'received' }, meter.received);
      if (meter.sent > 0) messages.inc({ operation, direction: 'sent' }, meter.sent);
    }
  }

  return {
    meter,
    contentType: registry.contentType,
    async text() {
      await figures.refresh();
      readMeters();
      certificate?.set((certificateEndsMs?.() ?? 0) / 1000);
      return registry.metrics();
    },
  };
}
