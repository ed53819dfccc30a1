// The services that gRPC tools expect: server reflection (grpcurl, Postman) and health (kubelet probes).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type grpc from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import type { FabricState } from '../../services.ts';
import { admit, type GrpcContext } from './call.ts';
import { statusOf } from './status.ts';

type Handler = (call: grpc.ServerDuplexStream<unknown, unknown>, callback: unknown) => void;

/** Adds both; `serviceNames` get a health status of their own. */
export function addBuiltinServices(
  server: grpc.Server,
  context: GrpcContext,
  serviceNames: readonly string[],
): { close(): void } {
  const health = new HealthImplementation();
  const show = (state: FabricState) => {
    const healthy = ['serving', 'disk_full', 'memory_full'].includes(state) && !context.isClosing();
    for (const name of ['', ...serviceNames]) health.setStatus(name, healthy ? 'SERVING' : 'NOT_SERVING');
  };
  show(context.fabric.state());
  context.fabric.onState(show);
  const guardedServer = { addService: adder(server, context) } as unknown as grpc.Server;
  health.addToServer(guardedServer);
  reflection().addToServer(guardedServer);
  return { close: () => show('draining') };
}

/** Both libraries add their handlers by themselves; this puts the permission table in front. */
function adder(server: grpc.Server, context: GrpcContext) {
  return (definition: grpc.ServiceDefinition, handlers: Record<string, Handler>): void => {
    const checked = Object.entries(definition).map(([name, method]) => {
      const handler = handlers[name] ?? handlers[method.originalName ?? ''];
      if (!handler) throw new Error(`${method.path} has no handler`);
      return [name, check(context, method.path, handler)];
    });
    server.addService(definition, Object.fromEntries(checked));
  };
}

function check(context: GrpcContext, path: string, handler: Handler): Handler {
  const isOpen = context.access.isOpen(path);
  return (call, callback) => {
    try {
      if (!isOpen) admit(context, path, call);
    } catch (error) {
      call.emit('error', statusOf(context.refuse(error, path)));
      return;
    }
    if ('end' in call) {
      // Watchers and reflection clients stay as long as they like; they must not hold up the end of the
      // listener.
      const end = () => void call.end();
      context.drains.add(end);
      call.once('cancelled', () => context.drains.delete(end));
    }
    handler(call, callback);
  };
}

/**
 * @grpc/reflection reads only `fileDescriptorProtos` of a package definition, so the generated descriptor
 * set is enough and the .proto files need not be shipped.
 */
function reflection(): ReflectionService {
  const path = fileURLToPath(import.meta.resolve('@flowmesh/protocol/gen/descriptor.binpb'));
  const files = { fileDescriptorProtos: messagesIn(readFileSync(path)) };
  return new ReflectionService({ files } as unknown as ConstructorParameters<typeof ReflectionService>[0]);
}

/** FileDescriptorSet is `repeated FileDescriptorProto file = 1`: tag 0x0a, length, bytes, again and again. */
function messagesIn(set: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  let at = 0;
  while (at < set.length) {
    if (set[at++] !== 0x0a) throw new Error('descriptor.binpb is not a FileDescriptorSet');
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = set[at++] ?? 0;
      length |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    messages.push(set.subarray(at, at + length));
    at += length;
  }
  return messages;
}
