// What each entry point needs: the one table behind authorisation. Listeners look their operations up when
// they start and do not start when one is missing, so nothing is served that nobody has thought about.
//   P1. An operation is a gRPC path ('/flowmesh.v1.Queues/Lease') or a route ('POST
//       /v1/queues/:queue/lease').
//   P2. 'open' needs no credentials: only what a kubelet asks.
//   P3. A request that carries operations (Kv.Execute, Transactions.Commit) is judged by what it carries.
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';

export type Verb =
  | 'get'
  | 'put'
  | 'delete'
  | 'enqueue'
  | 'lease'
  | 'ack'
  | 'publish'
  | 'consume'
  | 'replay'
  | 'scale'
  | 'admin';

export type Kind = 'kv' | 'queue' | 'schema' | 'stream' | 'group' | 'cluster';

export interface Permission {
  readonly verb: Verb;
  readonly kind: Kind;
}

/**
 * `all` must be held; of `carried` one must be held to ask at all, and then the ones that the message
 * carries.
 */
export type Need =
  | { readonly kind: 'open' }
  | { readonly kind: 'all'; readonly permissions: readonly Permission[] }
  | {
      readonly kind: 'carried';
      readonly possible: readonly Permission[];
      readonly of: (message: unknown) => readonly Permission[];
    };

const open: Need = { kind: 'open' };

/** need('get kv', 'put kv'): the notation of the table below. */
function need(...words: `${Verb} ${Kind}`[]): Need {
  return { kind: 'all', permissions: words.map(permission) };
}

function permission(words: `${Verb} ${Kind}`): Permission {
  const [verb, kind] = words.split(' ');
  return { verb: verb as Verb, kind: kind as Kind };
}

const GET_KV = permission('get kv');
const PUT_KV = permission('put kv');
const DELETE_KV = permission('delete kv');

/** Every operation on keys; one that is new in the protocol does not compile until it has a row. */
const KV_OPS: Record<NonNullable<pb.KvOp['op']>, Permission> = {
  get: GET_KV,
  inspect: GET_KV,
  check: GET_KV,
  scan: GET_KV,
  hashGet: GET_KV,
  hashScan: GET_KV,
  setContains: GET_KV,
  setScan: GET_KV,
  sortedSetScore: GET_KV,
  sortedSetRange: GET_KV,
  set: PUT_KV,
  expire: PUT_KV,
  increment: PUT_KV,
  hashSet: PUT_KV,
  hashIncrement: PUT_KV,
  setAdd: PUT_KV,
  sortedSetAdd: PUT_KV,
  sortedSetIncrement: PUT_KV,
  delete: DELETE_KV,
  hashDelete: DELETE_KV,
  setRemove: DELETE_KV,
  sortedSetRemove: DELETE_KV,
};

const kvCarries = ({ ops }: pb.KvRequest): Permission[] => ops.flatMap(({ op }) => (op ? [KV_OPS[op]] : []));

const TRANSACTION_OPS: Record<Exclude<NonNullable<pb.TransactionOp['op']>, 'kv'>, Permission> = {
  enqueue: permission('enqueue queue'),
  settle: permission('ack queue'),
  publish: permission('publish stream'),
  commit: permission('consume stream'),
};

const transactionCarries = ({ ops }: pb.TransactionRequest): Permission[] =>
  ops.flatMap((each) => {
    if (each.op === 'kv') return kvCarries(each.kv);
    return each.op ? [TRANSACTION_OPS[each.op]] : [];
  });

const kvNeed: Need = {
  kind: 'carried',
  possible: [GET_KV, PUT_KV, DELETE_KV],
  of: (message) => kvCarries(message as pb.KvRequest),
};

const transactionNeed: Need = {
  kind: 'carried',
  possible: [GET_KV, PUT_KV, DELETE_KV, ...Object.values(TRANSACTION_OPS)],
  of: (message) => transactionCarries(message as pb.TransactionRequest),
};

const GET_QUEUE = permission('get queue');
const LEASE_QUEUE = permission('lease queue');

/** Who holds a job is given what it is about, and the results of its children are part of that. */
const childrenNeed: Need = {
  kind: 'carried',
  possible: [GET_QUEUE, LEASE_QUEUE],
  of: (message) => [(message as pb.ListChildrenRequest).leaseEpoch > 0 ? LEASE_QUEUE : GET_QUEUE],
};

const ADMIN_QUEUE = permission('admin queue');
const ADMIN_SCHEMA = permission('admin schema');
const ADMIN_STREAM = permission('admin stream');

const releaseNeed: Need = {
  kind: 'carried',
  possible: [ADMIN_QUEUE, ADMIN_SCHEMA, ADMIN_STREAM],
  of(message) {
    const { kind } = message as pb.ReleaseOwnerRequest;
    return [kind === 'stream' ? ADMIN_STREAM : kind === 'schema' ? ADMIN_SCHEMA : ADMIN_QUEUE];
  },
};

const GET_GROUP = permission('get group');

const scalingNeed: Need = {
  kind: 'carried',
  possible: [GET_QUEUE, GET_GROUP],
  of: (message) => [(message as pb.GetScalingRequest).queue === '' ? GET_GROUP : GET_QUEUE],
};

const RPCS: Record<string, Need> = {
  '/externalscaler.ExternalScaler/GetMetricSpec': need('scale cluster'),
  '/externalscaler.ExternalScaler/GetMetrics': need('scale cluster'),
  '/externalscaler.ExternalScaler/IsActive': need('scale cluster'),
  '/externalscaler.ExternalScaler/StreamIsActive': need('scale cluster'),
  '/externalscaler.ExternalScaler/StreamMetricSpec': need('scale cluster'),
  '/flowmesh.v1.Admin/ApplyQueue': need('admin queue'),
  '/flowmesh.v1.Admin/GetQueue': need('get queue'),
  '/flowmesh.v1.Admin/ListQueues': need('get queue'),
  '/flowmesh.v1.Admin/DeleteQueue': need('admin queue', 'delete queue'),
  '/flowmesh.v1.Admin/ApplyStream': need('admin stream'),
  '/flowmesh.v1.Admin/GetStream': need('get stream'),
  '/flowmesh.v1.Admin/ListStreams': need('get stream'),
  '/flowmesh.v1.Admin/DeleteStream': need('admin stream', 'delete stream'),
  '/flowmesh.v1.Admin/ApplyKeyspace': need('admin kv'),
  '/flowmesh.v1.Admin/ListKeyspaces': need('get kv'),
  '/flowmesh.v1.Admin/GetCluster': need('get cluster'),
  '/flowmesh.v1.Admin/DeclareQueue': need('admin queue'),
  '/flowmesh.v1.Admin/DeclareStream': need('admin stream'),
  '/flowmesh.v1.Admin/ApplySchema': need('admin schema'),
  '/flowmesh.v1.Admin/GetSchema': need('get schema'),
  '/flowmesh.v1.Admin/ListSchemas': need('get schema'),
  '/flowmesh.v1.Admin/DeleteSchema': need('admin schema', 'delete schema'),
  '/flowmesh.v1.Admin/DeclareSchema': need('admin schema'),
  '/flowmesh.v1.Admin/ReleaseOwner': releaseNeed,
  '/flowmesh.v1.Admin/ListFigures': need('get queue', 'get schema', 'get stream', 'get group'),
  '/flowmesh.v1.Admin/GetScaling': scalingNeed,
  '/flowmesh.v1.Admin/WatchAdmin': need('get queue', 'get schema', 'get stream'),
  '/flowmesh.v1.History/ListEffects': need('get kv', 'get queue', 'consume stream'),
  '/flowmesh.v1.History/GetQueueAt': need('get queue'),
  '/flowmesh.v1.History/ListJobsAt': need('get queue'),
  '/flowmesh.v1.Kv/Execute': kvNeed,
  '/flowmesh.v1.Kv/Pipeline': kvNeed,
  '/flowmesh.v1.Kv/Watch': need('get kv'),
  '/flowmesh.v1.Queues/Enqueue': need('enqueue queue'),
  '/flowmesh.v1.Queues/EnqueueFlow': need('enqueue queue'),
  '/flowmesh.v1.Queues/EnqueueStream': need('enqueue queue'),
  '/flowmesh.v1.Queues/Lease': need('lease queue'),
  '/flowmesh.v1.Queues/Settle': need('ack queue'),
  '/flowmesh.v1.Queues/Work': need('lease queue', 'ack queue'),
  '/flowmesh.v1.Queues/RenewSession': need('lease queue'),
  '/flowmesh.v1.Queues/EndSession': need('lease queue'),
  '/flowmesh.v1.Queues/Report': need('ack queue'),
  '/flowmesh.v1.Queues/GetJob': need('get queue'),
  '/flowmesh.v1.Queues/ListJobs': need('get queue'),
  '/flowmesh.v1.Queues/ListChildren': childrenNeed,
  '/flowmesh.v1.Queues/JobHistory': need('get queue'),
  '/flowmesh.v1.Queues/CancelJob': need('delete queue'),
  '/flowmesh.v1.Queues/Purge': need('delete queue'),
  '/flowmesh.v1.Queues/SetDraining': need('admin queue'),
  '/flowmesh.v1.Queues/SetPaused': need('admin queue'),
  '/flowmesh.v1.Queues/Redrive': need('admin queue'),
  '/flowmesh.v1.Queues/StartRedrive': need('admin queue'),
  '/flowmesh.v1.Queues/GetRedrive': need('get queue'),
  '/flowmesh.v1.Queues/CancelRedrive': need('admin queue'),
  '/flowmesh.v1.Streams/Publish': need('publish stream'),
  '/flowmesh.v1.Streams/PublishStream': need('publish stream'),
  '/flowmesh.v1.Streams/Read': need('consume stream'),
  '/flowmesh.v1.Streams/Follow': need('consume stream'),
  '/flowmesh.v1.Streams/Consume': need('consume stream'),
  '/flowmesh.v1.Streams/Commit': need('consume stream'),
  '/flowmesh.v1.Streams/Seek': need('admin group'),
  '/flowmesh.v1.Streams/GetGroup': need('get group'),
  '/flowmesh.v1.Streams/ListGroups': need('get group'),
  '/flowmesh.v1.Transactions/Commit': transactionNeed,
  '/grpc.health.v1.Health/Check': open,
  '/grpc.health.v1.Health/List': open,
  '/grpc.health.v1.Health/Watch': open,
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo': need('get cluster'),
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': need('get cluster'),
};

const ROUTES: Record<string, Need> = {
  'GET /healthz': open,
  'GET /readyz': open,
  'GET /metrics': need('get cluster'),
  'GET /openapi.json': need('get cluster'),
  'GET /v1/figures': need('get queue', 'get schema', 'get stream', 'get group'),
  'GET /v1/effects': need('get kv', 'get queue', 'consume stream'),
  'GET /v1/kv/:keyspace': need('get kv'),
  'PUT /v1/kv/:keyspace/:key': need('put kv'),
  'GET /v1/kv/:keyspace/:key': need('get kv'),
  'DELETE /v1/kv/:keyspace/:key': need('delete kv'),
  'GET /v1/kv/:keyspace/:key/members': need('get kv'),
  'GET /v1/queues': need('get queue'),
  'PUT /v1/queues/:queue': need('admin queue'),
  'GET /v1/queues/:queue': need('get queue'),
  'GET /v1/queues/:queue/scaling': need('get queue'),
  'POST /v1/queues/:queue/pause': need('admin queue'),
  'POST /v1/queues/:queue/drain': need('admin queue'),
  'POST /v1/queues/:queue/resume': need('admin queue'),
  'POST /v1/queues/:queue/purge': need('delete queue'),
  'POST /v1/queues/:queue/redrive': need('admin queue'),
  'PUT /v1/queues/:queue/redrive': need('admin queue'),
  'GET /v1/queues/:queue/redrive': need('get queue'),
  'DELETE /v1/queues/:queue/redrive': need('admin queue'),
  'POST /v1/queues/:queue/lease': need('lease queue'),
  'POST /v1/queues/:queue/jobs': need('enqueue queue'),
  'GET /v1/queues/:queue/jobs': need('get queue'),
  'GET /v1/queues/:queue/jobs/:id': need('get queue'),
  'DELETE /v1/queues/:queue/jobs/:id': need('delete queue'),
  'GET /v1/queues/:queue/jobs/:id/history': need('get queue'),
  'GET /v1/queues/:queue/past': need('get queue'),
  'GET /v1/queues/:queue/past/jobs': need('get queue'),
  'GET /v1/queues/:queue/jobs/:id/children': need('get queue'),
  'POST /v1/flows': need('enqueue queue'),
  'POST /v1/queues/:queue/jobs/:id/ack': need('ack queue'),
  'POST /v1/queues/:queue/jobs/:id/nack': need('ack queue'),
  'POST /v1/queues/:queue/jobs/:id/extend': need('ack queue'),
  'POST /v1/queues/:queue/jobs/:id/report': need('ack queue'),
  'GET /v1/schemas': need('get schema'),
  'PUT /v1/schemas/:schema': need('admin schema'),
  'GET /v1/schemas/:schema': need('get schema'),
  'GET /v1/streams': need('get stream'),
  'PUT /v1/streams/:stream': need('admin stream'),
  'GET /v1/streams/:stream': need('get stream'),
  'POST /v1/streams/:stream/records': need('publish stream'),
  'GET /v1/streams/:stream/partitions/:partition/records': need('consume stream'),
  'GET /v1/streams/:stream/groups': need('get group'),
  'GET /v1/streams/:stream/groups/:group': need('get group'),
  'GET /v1/streams/:stream/groups/:group/scaling': need('get group'),
  'POST /v1/streams/:stream/groups/:group/seek': need('admin group'),
};

/** Commands on data by the name that clients send. A transaction needs what its commands need. */
const REDIS: Record<string, Need> = Object.fromEntries(
  Object.entries({
    get:
      'GET MGET STRLEN GETRANGE SUBSTR EXISTS TOUCH TYPE TTL PTTL EXPIRETIME PEXPIRETIME HGET HMGET ' +
      'HEXISTS HSTRLEN HLEN HGETALL HKEYS HVALS HRANDFIELD SISMEMBER SMISMEMBER SCARD SMEMBERS SUNION ' +
      'SINTER SDIFF SINTERCARD SRANDMEMBER ZSCORE ZMSCORE ZCARD ZRANK ZREVRANK ZCOUNT ZLEXCOUNT ZRANGE ' +
      'ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX ZRANDMEMBER ZUNION ZINTER ' +
      'ZDIFF ZINTERCARD DBSIZE KEYS RANDOMKEY SCAN HSCAN SSCAN ZSCAN',
    put:
      'SET SETNX SETEX PSETEX MSET MSETNX APPEND SETRANGE INCR DECR INCRBY DECRBY INCRBYFLOAT GETSET ' +
      'GETEX PERSIST HSET HMSET HINCRBY HINCRBYFLOAT HSETNX SADD SUNIONSTORE SINTERSTORE SDIFFSTORE ' +
      'ZADD ZINCRBY ZRANGESTORE ZUNIONSTORE ZINTERSTORE ZDIFFSTORE COPY',
    delete: 'DEL UNLINK HDEL SREM ZREM FLUSHDB',
  }).flatMap(([verb, names]) =>
    names.split(' ').map((name) => [`redis ${name}`, need(`${verb as 'get'} kv`)]),
  ),
);
/** Those that may take away what they read, or a key that was there. */
for (const name of [
  ...['GETDEL', 'EXPIRE', 'PEXPIRE', 'EXPIREAT', 'PEXPIREAT', 'RENAME', 'RENAMENX', 'SPOP', 'SMOVE'],
  ...['ZPOPMIN', 'ZPOPMAX', 'ZREMRANGEBYRANK', 'ZREMRANGEBYSCORE', 'ZREMRANGEBYLEX'],
]) {
  REDIS[`redis ${name}`] = need('put kv', 'delete kv');
}

/**
 * Operations of all listeners and what they need. A Map: an operation named like a member of Object is
 * absent.
 */
export const NEEDS: ReadonlyMap<string, Need> = new Map(
  [RPCS, ROUTES, REDIS].flatMap((table) => Object.entries(table)),
);
