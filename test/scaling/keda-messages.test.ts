// What KEDA really sends, recorded by e2e/specs/keda.e2e.ts, against our scaler: byte for byte, over TLS and
// with the certificate that it shows.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import { services } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { createAccess } from '../../dataplane/api/access.ts';
import { fixedTls } from '../../dataplane/api/tls.ts';
import { catalog } from '../../e2e/build/catalog.ts';
import { FakeFabric } from '../api/fake-fabric.ts';
import { Authority, type Issued } from '../api/issued.ts';
import { atEnd, collect, startFake } from '../api/support.ts';
import { aReading, FakeBoard } from './fake-board.ts';

interface Recorded {
  readonly path: string;
  readonly commonName: string;
  readonly headers: Record<string, string>;
  readonly message: object;
  readonly base64: string;
}

const file = join(import.meta.dirname, 'keda-messages.json');
const { keda, messages }: { keda: string; messages: Recorded[] } = JSON.parse(readFileSync(file, 'utf8'));
const methods = Object.values(services['externalscaler.ExternalScaler']);
const methodOf = ({ path }: Recorded) => {
  const method = methods.find((each) => each.path === path);
  if (method === undefined) throw new Error(`${path} is not in our protocol`);
  return method;
};
const metricOf = ({ message }: Recorded) => /"metric":"(\w+)"/.exec(JSON.stringify(message))?.[1];

test('the recording is of the KEDA that e2e runs, and of every method for both metrics', () => {
  expect(keda).toBe(catalog.keda.version);
  const all = methods.flatMap(({ path }) => [`${path} demand`, `${path} lag`]);
  expect(messages.map((each) => `${each.path} ${metricOf(each)}`).sort()).toEqual(all.sort());
});

test('our protocol knows all that is in the messages', () => {
  for (const each of messages) {
    const bytes = Buffer.from(each.base64, 'base64');
    const { requestDeserialize, requestSerialize } = methodOf(each);
    const decoded = requestDeserialize(bytes);
    expect(JSON.parse(JSON.stringify(decoded))).toEqual(each.message);
    expect(requestSerialize(decoded as never)).toHaveLength(bytes.length);
  }
});

test('every one is answered as KEDA reads it', async () => {
  const board = new FakeBoard();
  const reading = aReading({ signals: { lag: 42 }, advice: { wanted: 7, active: true }, lagTarget: 5000 });
  board.put({ tenant: 1, queue: 'orders' }, reading);
  const authority = new Authority('flowmesh main');
  const pem = ({ cert, key }: Issued) => ({ cert: Buffer.from(cert), key: Buffer.from(key) });
  const ca = Buffer.from(authority.cert);
  const { listener } = await startFake({
    fabric: Object.assign(new FakeFabric(), { scaling: board }),
    access: createAccess({ anonymous: false, tokens: [] }),
    tls: fixedTls({ ...pem(authority.issue('main')), clientCa: ca, clientAuth: 'optional' }),
  });
  const answers = {
    GetMetricSpec: ({ metricSpecs }: pb.GetMetricSpecResponse, metric: string) =>
      expect(metricSpecs).toEqual([specs[metric]]),
    StreamMetricSpec: ({ metricSpecs }: pb.GetMetricSpecResponse, metric: string) =>
      expect(metricSpecs).toEqual([specs[metric]]),
    GetMetrics: ({ metricValues }: pb.GetMetricsResponse, metric: string) =>
      expect(metricValues).toEqual([values[metric]]),
    IsActive: ({ result }: pb.IsActiveResponse) => expect(result).toBe(true),
    StreamIsActive: ({ result }: pb.IsActiveResponse) => expect(result).toBe(true),
  };
  for (const each of messages) {
    const { cert, key } = pem(authority.issue(each.commonName));
    const credentials = grpc.credentials.createSsl(ca, key, cert);
    const client = new grpc.Client(`localhost:${listener.port}`, credentials);
    atEnd(() => client.close());
    const { responseDeserialize } = methodOf(each);
    const metadata = grpc.Metadata.fromHttp2Headers({ ...each.headers });
    const call = client.makeServerStreamRequest(
      each.path,
      (bytes: Buffer) => bytes,
      responseDeserialize as (bytes: Buffer) => never,
      Buffer.from(each.base64, 'base64'),
      metadata,
    );
    const heard = collect<never>(call);
    await Promise.race([heard.until(1), heard.status.then(({ details }) => expect(details).toBe('OK'))]);
    answers[each.path.split('/')[2] as keyof typeof answers](
      heard.messages[0] as never,
      metricOf(each) as string,
    );
    call.cancel();
  }
});

const specs: Record<string, object> = {
  lag: { metricName: 'lag', targetSize: 5000, targetSizeFloat: 5000 },
  demand: { metricName: 'demand', targetSize: 1, targetSizeFloat: 1 },
};
const values: Record<string, object> = {
  lag: { metricName: 'lag', metricValue: 42, metricValueFloat: 42 },
  demand: { metricName: 'demand', metricValue: 7, metricValueFloat: 7 },
};
