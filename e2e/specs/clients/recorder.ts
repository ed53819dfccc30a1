// A scaler that says of every target that it wants one worker, and prints each message of KEDA as it came:
// what test/scaling replays against ours. Over TLS, and only for who shows a certificate, as a data plane of
// the operator.
import { readFileSync } from 'node:fs';
import { services } from '@flowmesh/protocol/gen/services.js';
import grpc from '@grpc/grpc-js';

const pem = (name: string) => readFileSync(`/tls/${name}`);
const definition = services['externalscaler.ExternalScaler'];

/** By method, for the metric that the trigger is about. */
const replies: Record<keyof typeof definition, (metricName: string) => unknown> = {
  isActive: () => ({ result: true }),
  streamIsActive: () => ({ result: true }),
  getMetricSpec: (metricName) => ({ metricSpecs: [{ metricName, targetSize: 1, targetSizeFloat: 1 }] }),
  streamMetricSpec: (metricName) => ({ metricSpecs: [{ metricName, targetSize: 1, targetSizeFloat: 1 }] }),
  getMetrics: (metricName) => ({ metricValues: [{ metricName, metricValue: 1, metricValueFloat: 1 }] }),
};

type Call = grpc.ServerUnaryCall<Buffer, unknown> | grpc.ServerWritableStream<Buffer, unknown>;

const server = new grpc.Server();
for (const [name, method] of Object.entries(definition)) {
  const replyTo = (call: Call) => {
    const commonName = call.getAuthContext().sslPeerCertificate?.subject.CN;
    const headers = call.metadata.getMap();
    const message = method.requestDeserialize(call.request);
    const base64 = call.request.toString('base64');
    console.log(JSON.stringify({ path: method.path, commonName, headers, message, base64 }));
    const ref = 'scaledObjectRef' in message ? message.scaledObjectRef : message;
    return replies[name as keyof typeof replies](ref?.scalerMetadata['metric'] ?? '');
  };
  const asItCame = { ...method, requestDeserialize: (bytes: Buffer) => bytes };
  server.addService(
    { [name]: asItCame as grpc.MethodDefinition<Buffer, unknown> },
    {
      [name]: method.responseStream
        ? (call: grpc.ServerWritableStream<Buffer, unknown>) => call.write(replyTo(call))
        : (call: grpc.ServerUnaryCall<Buffer, unknown>, answer: grpc.sendUnaryData<unknown>) =>
            answer(null, replyTo(call)),
    },
  );
}
const pair = { private_key: pem('tls.key'), cert_chain: pem('tls.crt') };
const credentials = grpc.ServerCredentials.createSsl(pem('ca.crt'), [pair], true);
server.bindAsync('0.0.0.0:7070', credentials, (error) => {
  if (error !== null) throw error;
});
process.once('SIGTERM', () => server.forceShutdown());
