// Mutual TLS on both listeners: strangers stay outside, a certificate is an identity.
import { once } from 'node:events';
import type http from 'node:http';
import https from 'node:https';
import { KvClient } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { createAccess } from '../../dataplane/api/access.ts';
import { fixedTls } from '../../dataplane/api/tls.ts';
import * as certificates from './certificates.ts';
import { listenHttp, refused, startFake, unary } from './support.ts';

const {
  ca,
  serverCert: cert,
  serverKey: key,
  clientCert,
  clientKey,
  strangerCert,
  strangerKey,
} = certificates;
const tls = fixedTls({ cert, key, clientCa: ca });
// The client connects to an address, but the certificate is for a name.
const byName = { 'grpc.ssl_target_name_override': 'localhost' };
const access = createAccess({ anonymous: false, tokens: [] });

test('gRPC: the common name is the identity; strangers do not get in', async () => {
  const { client, fabric } = await startFake({ tls, access });
  const known = client(KvClient, grpc.credentials.createSsl(ca, clientKey, clientCert), byName);
  await unary(known, known.execute, {});
  expect(fabric.last('kv.execute').caller?.identity).toBe('certificate:client-1');
  for (const credentials of [
    grpc.credentials.createSsl(ca),
    grpc.credentials.createSsl(ca, strangerKey, strangerCert),
    grpc.credentials.createInsecure(),
  ]) {
    const stub = client(KvClient, credentials, byName);
    const { code } = await refused(unary(stub, stub.execute, {}));
    expect(code).toBe(grpc.status.UNAVAILABLE);
  }
  expect(fabric.calls).toHaveLength(1);
});

test('HTTP: the same', async () => {
  const { listener, fabric } = await listenHttp({ tls, access });
  const ask = async (options: https.RequestOptions) => {
    const request = https.get({
      host: 'localhost',
      port: listener.port,
      path: '/v1/queues',
      ca,
      agent: false,
      ...options,
    });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  expect(await ask({ cert: clientCert, key: clientKey })).toBe(200);
  expect(fabric.last('admin.listQueues').caller?.identity).toBe('certificate:client-1');
  await expect(ask({})).rejects.toThrow();
  await expect(ask({ cert: strangerCert, key: strangerKey })).rejects.toThrow();
  expect(fabric.calls).toHaveLength(1);
});

test('TLS without client certificates still asks for a token', async () => {
  const { client } = await startFake({ tls: fixedTls({ cert, key }), access });
  const stub = client(KvClient, grpc.credentials.createSsl(ca), byName);
  expect((await refused(unary(stub, stub.execute, {}))).code).toBe(grpc.status.UNAUTHENTICATED);
});
