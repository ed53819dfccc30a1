// What protocol adapters call: the gRPC API as plain async functions on messages, plus the sessions behind
// its streams. The views implement it; adapters decode, authorise, call, encode. Every method throws
// FlowError only.

import type { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ScalingBoard } from './scaling/board.ts';
import type { Caller } from './shard/state-machine.ts';

/** A set, or a get: without a value. */
export interface PlainCall {
  readonly key: Buffer;
  readonly value: Buffer | null;
}

export interface KvService {
  /** Hot path: a string that is at hand; null: there is no such key; undefined: `plain` has to ask. */
  getNow(caller: Caller, keyspace: string, key: Buffer): Buffer | null | undefined;
  /** Hot path: no messages, no promise. `done` is called once, perhaps at once, with its own results. */
  plain(
    caller: Caller,
    keyspace: string,
    calls: readonly PlainCall[],
    done: (results: pb.KvResultInput[]) => void,
  ): void;
  execute(caller: Caller, request: pb.KvRequest): Promise<pb.KvResponseInput>;
  /** Sends changes until `close`, or until `fail` has been called. The first message has none. */
  openWatch(
    caller: Caller,
    request: pb.KvWatchRequest,
    send: (message: pb.KvWatchResponseInput) => boolean,
    fail: (error: FlowError) => void,
  ): Promise<WatchSession>;
}

export interface WatchSession {
  /** The connection has room again. */
  resume(): void;
  close(): void;
}

export interface QueueService {
  enqueue(caller: Caller, request: pb.EnqueueRequest): Promise<pb.EnqueueResponseInput>;
  enqueueFlow(caller: Caller, request: pb.EnqueueFlowRequest): Promise<pb.EnqueueFlowResponseInput>;
  /** Hot path of EnqueueStream: no promise per batch. `done` is called in request order per caller. */
  enqueueBatch(
    caller: Caller,
    request: pb.EnqueueBatch,
    done: (reply: pb.EnqueueBatchReplyInput) => void,
  ): void;
  /**
   * `signal` aborts when the client is gone: what was granted and cannot be written is released, uncounted.
   */
  /** `address`: where the request comes from. It tells callers apart that give no name; empty: unknown. */
  lease(
    caller: Caller,
    request: pb.LeaseRequest,
    signal: AbortSignal,
    address?: string,
  ): Promise<pb.LeaseResponseInput>;
  /** The lease response could not be written. */
  releaseUndelivered(caller: Caller, queue: string, jobs: readonly pb.LeasedJobInput[]): void;
  settle(caller: Caller, request: pb.SettleRequest): Promise<pb.SettleResponseInput>;
  /**
   * A worker's stream. `send` returns false when the connection is congested; call `resume` on the session
   * when it drained.
   */
  openWork(
    caller: Caller,
    hello: pb.WorkHello,
    send: (message: pb.WorkResponseInput) => boolean,
  ): Promise<WorkSession>;
  renewSession(caller: Caller, request: pb.RenewSessionRequest): Promise<pb.RenewSessionResponseInput>;
  endSession(caller: Caller, request: pb.EndSessionRequest): Promise<pb.EndSessionResponseInput>;
  report(caller: Caller, request: pb.ReportRequest): Promise<pb.ReportResponseInput>;
  getJob(caller: Caller, request: pb.GetJobRequest): Promise<pb.JobInput>;
  listJobs(caller: Caller, request: pb.ListJobsRequest): Promise<pb.ListJobsResponseInput>;
  listChildren(caller: Caller, request: pb.ListChildrenRequest): Promise<pb.ListChildrenResponseInput>;
  jobHistory(caller: Caller, request: pb.GetJobRequest): Promise<pb.JobHistoryResponseInput>;
  cancelJob(caller: Caller, request: pb.CancelJobRequest): Promise<pb.CancelJobResponseInput>;
  purge(caller: Caller, request: pb.PurgeRequest): Promise<pb.PurgeResponseInput>;
  setDraining(caller: Caller, request: pb.SetDrainingRequest): Promise<pb.SetDrainingResponseInput>;
  setPaused(caller: Caller, request: pb.SetPausedRequest): Promise<pb.SetPausedResponseInput>;
  redrive(caller: Caller, request: pb.RedriveRequest): Promise<pb.RedriveResponseInput>;
  startRedrive(caller: Caller, request: pb.StartRedriveRequest): Promise<pb.RedriveTaskInput>;
  getRedrive(caller: Caller, request: pb.GetRedriveRequest): Promise<pb.RedriveTaskInput>;
  cancelRedrive(caller: Caller, request: pb.CancelRedriveRequest): Promise<pb.RedriveTaskInput>;
}

export interface WorkSession {
  receive(message: pb.WorkRequest): void;
  resume(): void;
  /** The connection is gone without goodbye: leases stay until their deadline. */
  disconnect(): void;
}

export interface StreamService {
  publish(caller: Caller, request: pb.PublishRequest): Promise<pb.PublishResponseInput>;
  /** Hot path of PublishStream. `done` is called in request order per caller. */
  publishBatch(
    caller: Caller,
    request: pb.PublishBatch,
    done: (reply: pb.PublishBatchReplyInput) => void,
  ): void;
  read(caller: Caller, request: pb.ReadRequest): Promise<pb.ReadResponseInput>;
  /** Follows one partition until `close`. */
  openFollow(
    caller: Caller,
    request: pb.FollowRequest,
    send: (chunk: pb.RecordChunkInput) => boolean,
    fail: (error: FlowError) => void,
  ): Promise<FollowSession>;
  openConsume(
    caller: Caller,
    hello: pb.ConsumeHello,
    send: (message: pb.ConsumeResponseInput) => boolean,
    fail: (error: FlowError) => void,
  ): Promise<ConsumeSession>;
  commit(caller: Caller, request: pb.CommitRequest): Promise<pb.CommitResponseInput>;
  seek(caller: Caller, request: pb.SeekRequest): Promise<pb.SeekResponseInput>;
  getGroup(caller: Caller, request: pb.GetGroupRequest): Promise<pb.GroupInput>;
  listGroups(caller: Caller, request: pb.ListGroupsRequest): Promise<pb.ListGroupsResponseInput>;
}

export interface FollowSession {
  resume(): void;
  close(): void;
}

export interface ConsumeSession {
  receive(message: pb.ConsumeRequest): void;
  resume(): void;
  disconnect(): void;
}

export interface TransactionService {
  commit(caller: Caller, request: pb.TransactionRequest): Promise<pb.TransactionResponseInput>;
}

export interface HistoryService {
  listEffects(caller: Caller, request: pb.ListEffectsRequest): Promise<pb.ListEffectsResponseInput>;
  getQueueAt(caller: Caller, request: pb.GetQueueAtRequest): Promise<pb.QueueAtInput>;
  listJobsAt(caller: Caller, request: pb.ListJobsAtRequest): Promise<pb.ListJobsAtResponseInput>;
}

export interface AdminService {
  applyQueue(caller: Caller, spec: pb.QueueSpec): Promise<pb.QueueInput>;
  getQueue(caller: Caller, request: pb.GetQueueRequest): Promise<pb.QueueInput>;
  listQueues(caller: Caller): Promise<pb.ListQueuesResponseInput>;
  deleteQueue(caller: Caller, request: pb.DeleteQueueRequest): Promise<pb.DeleteQueueResponseInput>;
  applyStream(caller: Caller, spec: pb.StreamSpec): Promise<pb.StreamInput>;
  getStream(caller: Caller, request: pb.GetStreamRequest): Promise<pb.StreamInput>;
  listStreams(caller: Caller): Promise<pb.ListStreamsResponseInput>;
  deleteStream(caller: Caller, request: pb.DeleteStreamRequest): Promise<pb.DeleteStreamResponseInput>;
  applyKeyspace(caller: Caller, spec: pb.KeyspaceSpec): Promise<pb.KeyspaceInput>;
  listKeyspaces(caller: Caller): Promise<pb.ListKeyspacesResponseInput>;
  getCluster(caller: Caller): Promise<pb.ClusterInput>;
  declareQueue(caller: Caller, request: pb.DeclareQueueRequest): Promise<pb.DeclareQueueResponseInput>;
  declareStream(caller: Caller, request: pb.DeclareStreamRequest): Promise<pb.DeclareStreamResponseInput>;
  applySchema(caller: Caller, spec: pb.SchemaSpec): Promise<pb.SchemaInput>;
  getSchema(caller: Caller, request: pb.GetSchemaRequest): Promise<pb.SchemaInput>;
  listSchemas(caller: Caller): Promise<pb.ListSchemasResponseInput>;
  deleteSchema(caller: Caller, request: pb.DeleteSchemaRequest): Promise<pb.DeleteSchemaResponseInput>;
  declareSchema(caller: Caller, request: pb.DeclareSchemaRequest): Promise<pb.DeclareSchemaResponseInput>;
  releaseOwner(caller: Caller, request: pb.ReleaseOwnerRequest): Promise<pb.ReleaseOwnerResponseInput>;
  listFigures(caller: Caller, request: pb.ListFiguresRequest): Promise<pb.ListFiguresResponseInput>;
  getScaling(caller: Caller, request: pb.GetScalingRequest): Promise<pb.GetScalingResponseInput>;
  /** Tells changes until `close`, or until `fail` has been called. The first message has none. */
  openWatch(
    caller: Caller,
    request: pb.WatchAdminRequest,
    send: (message: pb.WatchAdminResponseInput) => boolean,
    fail: (error: FlowError) => void,
  ): Promise<WatchSession>;
}

export type FabricState = 'starting' | 'serving' | 'disk_full' | 'memory_full' | 'draining' | 'failed';

/** The whole data plane behind the listeners. */
export interface Fabric {
  readonly kv: KvService;
  readonly queues: QueueService;
  readonly streams: StreamService;
  readonly transactions: TransactionService;
  readonly history: HistoryService;
  readonly admin: AdminService;
  readonly scaling: ScalingBoard;
  state(): FabricState;
  onState(listener: (state: FabricState) => void): void;
}
