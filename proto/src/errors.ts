// The one table of error codes that servers, SDKs and docs share: docs/reference/errors.md is tested by it.
//   E1. One condition, one code; a code never changes its meaning.
//   E2. Callers branch on `code`, never on the message.

/** What a client may do after an error: nothing, the same request again at once, or again after a pause. */
export type Retry = 'never' | 'same' | 'backoff';

/** gRPC status numbers, as in grpc/doc/statuscodes.md. */
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const ALREADY_EXISTS = 6;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const ABORTED = 10;
const OUT_OF_RANGE = 11;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const DATA_LOSS = 15;
const UNAUTHENTICATED = 16;
const CANCELLED = 1;

interface ErrorRow {
  readonly grpc: number;
  readonly http: number;
  readonly retry: Retry;
  /** Title of the problem document (RFC 9457) and of the docs entry. */
  readonly title: string;
  /** What the reader of the error should do. */
  readonly cure: string;
}

const row = (grpc: number, http: number, retry: Retry, title: string, cure: string): ErrorRow => ({
  grpc,
  http,
  retry,
  title,
  cure,
});

export const ERRORS = {
  INVALID_ARGUMENT: row(
    INVALID_ARGUMENT,
    400,
    'never',
    'The request is not valid',
    'Correct the field that the message names.',
  ),
  MALFORMED: row(
    INVALID_ARGUMENT,
    400,
    'never',
    'The bytes could not be decoded',
    'Send well-formed JSON, protobuf or record batches.',
  ),
  UNSUPPORTED_MEDIA_TYPE: row(
    INVALID_ARGUMENT,
    415,
    'never',
    'This content type is not accepted here',
    'Send application/json.',
  ),
  KEY_TOO_LARGE: row(
    INVALID_ARGUMENT,
    413,
    'never',
    'A key is longer than 1 KiB',
    'Use a shorter key, or a hash of it.',
  ),
  KEY_REQUIRED: row(
    INVALID_ARGUMENT,
    400,
    'never',
    'A record of a compacted stream has no key',
    'Give each record a key, or declare the stream with cleanup: delete.',
  ),
  VALUE_TOO_LARGE: row(
    INVALID_ARGUMENT,
    413,
    'never',
    'A value is larger than 1 MiB',
    'Store large values elsewhere and send a reference.',
  ),
  HEADERS_TOO_LARGE: row(
    INVALID_ARGUMENT,
    413,
    'never',
    'Too many or too large headers',
    'At most 64 headers of 1 KiB each.',
  ),
  BATCH_TOO_LARGE: row(
    INVALID_ARGUMENT,
    413,
    'never',
    'The batch is larger than one journal entry',
    'Split it: at most 3 MiB or 10,000 records a batch.',
  ),
  WRONG_TYPE: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The key holds another type',
    'Use the operations of that type, or delete the key first.',
  ),
  WRONG_VALUE: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The value is not a number, or would leave its range',
    'Only increment what holds a number.',
  ),
  REVISION_MISMATCH: row(
    ABORTED,
    412,
    'never',
    'The key has another revision',
    'Read it again and decide again.',
  ),
  NOT_FOUND: row(NOT_FOUND, 404, 'never', 'There is no such thing', 'Check the name.'),
  QUEUE_NOT_FOUND: row(
    NOT_FOUND,
    404,
    'never',
    'There is no such queue',
    'Declare it (kind: Queue), or turn autoCreate on.',
  ),
  STREAM_NOT_FOUND: row(
    NOT_FOUND,
    404,
    'never',
    'There is no such stream',
    'Declare it (kind: Stream), or turn autoCreate on.',
  ),
  JOB_NOT_FOUND: row(
    NOT_FOUND,
    404,
    'never',
    'There is no such job',
    'Check the id; finished jobs are forgotten after the retention of the queue.',
  ),
  GROUP_NOT_FOUND: row(
    NOT_FOUND,
    404,
    'never',
    'There is no such consumer group',
    'Check the name; a group appears with its first member or seek.',
  ),
  SCALING_NOT_DECLARED: row(
    NOT_FOUND,
    404,
    'never',
    'Nothing asks for workers of this to be scaled',
    'Declare spec.scaling of the queue, or of the consumer group of the stream.',
  ),
  SCALING_UNKNOWN: row(
    UNAVAILABLE,
    503,
    'backoff',
    'How many workers are needed is not known yet',
    'Ask again after a second, and keep the workers that there are until then.',
  ),
  SCHEMA_NOT_FOUND: row(
    NOT_FOUND,
    404,
    'never',
    'There is no such schema',
    'Check the name, or declare it (kind: Schema).',
  ),
  SCHEMA_UNKNOWN: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The schema that is referred to is not declared',
    'Declare the schema, and that version of it, first; then declare this again.',
  ),
  SCHEMA_INVALID: row(
    INVALID_ARGUMENT,
    400,
    'never',
    'The schema cannot be used',
    'Correct the place that the message names; see docs/spec/schemas.md for what is accepted.',
  ),
  SCHEMA_VIOLATION: row(
    INVALID_ARGUMENT,
    422,
    'never',
    'A payload does not match the schema',
    'Correct the field that the message names; nothing that was refused is stored.',
  ),
  SCHEMA_IN_USE: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'Queues or streams refer to the schema',
    'Delete those that the message names, or declare them without it, first.',
  ),
  ALREADY_EXISTS: row(ALREADY_EXISTS, 409, 'never', 'It exists already', 'Choose another name.'),
  IMMUTABLE: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'This cannot be changed',
    'Create a new one and move over.',
  ),
  OWNED_BY_OTHER: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'It belongs to another owner, or to none',
    'Choose another name, or let the owner that the message names release it.',
  ),
  STALE_GENERATION: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The owner has declared a newer generation',
    'Declare the newest generation; nothing was changed.',
  ),
  ADOPTION_REFUSED: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'It is there already, and may not be taken over',
    'Make the declaration equal to what is there, or set adoptionPolicy: Always.',
  ),
  NOT_EMPTY: row(FAILED_PRECONDITION, 409, 'never', 'It is not empty', 'Drain or purge it first.'),
  LEASE_LOST: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The lease is no longer held',
    'Stop handling the job: somebody else has it or will get it.',
  ),
  MEMBER_FENCED: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The member no longer owns the partition',
    'Stop handling it; join again for a new assignment.',
  ),
  OUT_OF_ORDER: row(
    ABORTED,
    409,
    'backoff',
    'The batch before this one was not carried out',
    'Send what was refused again, in the order in which it was sent first.',
  ),
  PRODUCER_FENCED: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The sequence is older than what is remembered',
    'Start a new producer.',
  ),
  CROSS_SHARD: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The names live on different shards',
    'Give them the same {tag}.',
  ),
  OFFSET_OUT_OF_RANGE: row(
    OUT_OF_RANGE,
    416,
    'never',
    'The offset is outside the log',
    'Read between log start and end.',
  ),
  HISTORY_TRIMMED: row(
    OUT_OF_RANGE,
    410,
    'never',
    'The history no longer reaches back that far',
    'Start at the oldest position that the error names.',
  ),
  QUEUE_FULL: row(
    RESOURCE_EXHAUSTED,
    429,
    'backoff',
    'The queue has reached its maxDepth',
    'Wait for workers to catch up, or raise limits.maxDepth.',
  ),
  FLOW_TOO_LARGE: row(
    INVALID_ARGUMENT,
    413,
    'never',
    'The flow has too many jobs or levels',
    'At most 1,000 jobs and 32 levels in one call: let a handler enqueue the rest as flows of their own.',
  ),
  QUEUE_DRAINING: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The queue takes no new jobs',
    'Enqueue elsewhere, or let it take jobs again.',
  ),
  RESOURCE_EXHAUSTED: row(
    RESOURCE_EXHAUSTED,
    429,
    'backoff',
    'Too much at once',
    'Try again after the delay that the error names.',
  ),
  DISK_FULL: row(
    RESOURCE_EXHAUSTED,
    507,
    'backoff',
    'The disk is full',
    'Free space or grow the volume; reads, acks and deletes go on.',
  ),
  UNAUTHENTICATED: row(
    UNAUTHENTICATED,
    401,
    'never',
    'No valid credentials',
    'Send the token as Authorization: Bearer.',
  ),
  PERMISSION_DENIED: row(
    PERMISSION_DENIED,
    403,
    'never',
    'Not allowed',
    'Ask for the permission that the message names.',
  ),
  HOST_REFUSED: row(
    PERMISSION_DENIED,
    421,
    'never',
    'This host or origin is not served',
    'Use an address that the server was told to serve.',
  ),
  UNIMPLEMENTED: row(
    UNIMPLEMENTED,
    501,
    'never',
    'This is not supported',
    'See the documentation for what is.',
  ),
  CANCELLED: row(CANCELLED, 499, 'never', 'The caller gave up', 'Nothing: the caller cancelled.'),
  DEADLINE_EXCEEDED: row(
    DEADLINE_EXCEEDED,
    504,
    'same',
    'It took longer than the deadline',
    'The outcome is unknown: repeat with the same idempotency key.',
  ),
  UNAVAILABLE: row(
    UNAVAILABLE,
    503,
    'backoff',
    'The server cannot be reached or is closing',
    'Try again; the SDKs do so by themselves.',
  ),
  CLIENT_CLOSED: row(CANCELLED, 499, 'never', 'The client was closed', 'Open a new client.'),
  DATA_DAMAGED: row(
    DATA_LOSS,
    500,
    'never',
    'Stored bytes do not match their checksum',
    'Restore from a backup; the message names file and place.',
  ),
  DATA_LOCKED: row(
    UNAVAILABLE,
    503,
    'never',
    'Another process uses the data directory',
    'Stop it, or choose another directory.',
  ),
  DATA_TOO_NEW: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The data directory was written by a newer version',
    'Run that version or a newer one.',
  ),
  DATA_MISMATCH: row(
    FAILED_PRECONDITION,
    409,
    'never',
    'The data directory belongs to another set-up',
    'Start with the shards it was created with.',
  ),
  INTERNAL: row(
    INTERNAL,
    500,
    'never',
    'Something went wrong inside FlowMesh',
    'Report it with the request id.',
  ),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;
