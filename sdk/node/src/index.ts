export { type Envelope, ERRORS, type ErrorCode, FlowError, LIMITS, type Retry } from '@flowmesh/protocol';
export type {
  Admin,
  JobPage,
  JobState,
  JobView,
  KeyspaceSettings,
  SeekTarget,
} from './admin.ts';
export type { BatchHandler, BatchOptions } from './batching.ts';
export type { CallOptions } from './calls.ts';
export { type ConnectOptions, connect, type FlowMesh } from './client.ts';
export type { TlsOptions } from './connection.ts';
export type { StreamEvent } from './consumed-event.ts';
export type { Consumer, ConsumerOptions, SkippedRecords } from './consumer.ts';
export type {
  AdminWatchOptions,
  Declaration,
  DeclarationChange,
  DeclaredKind,
  Figures,
  FiguresOptions,
  Owner,
  OwnerOptions,
} from './declarations.ts';
export type { Duration } from './durations.ts';
export type { EnqueuedJob, EnqueueOptions } from './enqueue.ts';
export { RetryAfter, Unrecoverable } from './errors.ts';
export type { ChildJob, ChildrenOptions, EnqueuedFlow, FlowJob, OnFailure } from './flows.ts';
export type { EventHandler, HandleOptions } from './handle-events.ts';
export type { Headers } from './headers.ts';
export type {
  Effect,
  EffectsOf,
  EffectsOptions,
  History,
  PastJob,
  PastJobsOptions,
  QueueCounts,
  QueueMoment,
} from './history.ts';
export type { Job } from './job.ts';
export type { KeyValue, ScanOptions } from './kv.ts';
export type {
  HashKey,
  HashReader,
  MembersKey,
  MembersReader,
  RangeOptions,
  SortedSetKey,
  SortedSetReader,
} from './kv-collections.ts';
export type { KeyState, KeyType, KvEntry, Name, Scored, SetOptions, SetOutcome } from './kv-commands.ts';
export type { KvPast, PastMoment, PastScanOptions } from './kv-past.ts';
export type { ChangedMember, KvChange, WatchOptions } from './kv-watch.ts';
export type { WriteManyOptions, WriteOptions, WrittenRecord } from './publish.ts';
export type { QueueLimits, QueueSettings, Rate, Schedule } from './queue-settings.ts';
export type { Queues } from './queues.ts';
export type { Scaling, ScalingOf } from './scaling.ts';
export type {
  FieldType,
  JsonSchema,
  MigrationStep,
  SchemaRef,
  SchemaSettings,
  Schemas,
  SchemaVersion,
  SchemaView,
} from './schemas.ts';
export type { StreamRecord } from './stream-record.ts';
export type { ConsumerGroupSettings, StreamSettings } from './stream-settings.ts';
export type { FollowOptions, ReadOptions, ReadPage, Streams } from './streams.ts';
export type { Transaction, TransactionResults } from './transaction.ts';
export type { Worker } from './worker.ts';
export type { DrainOptions, JobHandler, WorkerEvents, WorkerOptions } from './worker-options.ts';
