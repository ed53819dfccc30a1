// Requests and responses of the job routes.
import {
  anyJson,
  closed,
  count,
  durability,
  envelope,
  flag,
  headers,
  headersBase64,
  list,
  open,
  text,
} from './schemas.ts';

const content = {
  payload: anyJson('Any JSON; stored as application/json'),
  payloadBase64: text('Any other bytes, in Base64'),
  contentType: text('Content type of payloadBase64', { minLength: 1, maxLength: 255 }),
  headers,
  headersBase64,
};

const key = {
  key: text('Jobs with one key are handled in order, one at a time'),
  keyBase64: text('A key that is not text'),
};

const newJobFields = {
  ...content,
  ...key,
  delayMs: count('Wait this long before it may be delivered'),
  limitKey: text('Jobs with one share the limits per key and take turns with others; default: key'),
  limitKeyBase64: text('A limit key that is not text'),
  priority: count('0 to 255, higher first', { maximum: 255 }),
  dedupKey: text('A second job with the same one is not enqueued within the window of the queue'),
  dedupMode: text('What a second job with the dedupKey does; unset: throttle', {
    enum: ['throttle', 'simple', 'debounce'],
  }),
  dedupWindowMs: count('How long the dedupKey counts; unset: as the queue says'),
  timeoutMs: count('How long one attempt may run'),
  envelope,
};

export const newJob = { minProperties: 1, ...closed(newJobFields) };

/** Its children are looked at one by one, so that a tree may be of any depth until it is refused. */
export const flowNode = closed(
  {
    queue: text('Queue'),
    ...newJobFields,
    name: text('By which its parent finds it; unique among its siblings', { maxLength: 255 }),
    onFailure: text('What its end without an ack does to its parent; unset: fail-parent', {
      enum: ['fail-parent', 'ignore', 'continue', 'remove'],
    }),
    children: { type: 'array', maxItems: 1000, items: { type: 'object' } },
  },
  ['queue'],
);

export const enqueued = open(
  {
    id: text('Id of the job'),
    deduplicated: flag('The id is that of an earlier job with the same dedupKey'),
    replacedId: text('debounce: the job whose place this one took'),
    durability,
  },
  ['id'],
);

export const lease = closed({
  max: count('At most this many jobs; default 1', { minimum: 1, maximum: 10_000 }),
  waitMs: count('How long to wait for a job; default 0', { maximum: 300_000 }),
  visibilityMs: count('How long the leases last; unset: as the queue says'),
  worker: text('Name of the worker that holds them; without one, the caller and its address', {
    maxLength: 255,
  }),
});

const received = {
  ...content,
  key: { type: ['string', 'null'] },
  keyBase64: key.keyBase64,
  envelope: { type: 'object' },
  enqueuedAtMs: count('When it was enqueued'),
};

export const leased = open({
  jobs: list(
    open({
      id: text('Id of the job'),
      leaseEpoch: count('Fencing token: settle with it'),
      attempt: count('1 for the first'),
      ...received,
      deadlineMs: count('When the lease ends'),
    }),
  ),
});

const leaseEpoch = count('As it came with the lease');

export const ack = closed(
  {
    leaseEpoch,
    result: anyJson('What came of it, kept with the finished job: any JSON, at most 64 KiB'),
  },
  ['leaseEpoch'],
);

export const report = closed(
  {
    leaseEpoch,
    progress: anyJson('How far it is: any JSON, at most 4 KiB'),
    log: { type: 'array', maxItems: 100, items: text('A line', { maxLength: 4096 }) },
  },
  ['leaseEpoch'],
);

export const nack = closed(
  {
    leaseEpoch,
    error: text('What went wrong', { maxLength: 4096 }),
    retryAfterMs: count('Overrides the backoff of the queue'),
    unrecoverable: flag('Do not retry: dead-letter at once'),
    release: flag('Give back uncounted: the handler had not started'),
  },
  ['leaseEpoch'],
);

export const extend = closed({ leaseEpoch, visibilityMs: count('From now', { minimum: 1 }) }, [
  'leaseEpoch',
  'visibilityMs',
]);

export const settled = open({ durability });

export const cancelQuery = closed({ reason: text('Shown with the job', { maxLength: 1024 }) });

export const cancelled = open({
  cancelled: flag('False: it was finished already'),
  state: text('In which state it was'),
});

export const listQuery = closed({
  state: text('Unset: every unfinished state', {
    enum: [
      ...['waiting', 'delayed', 'retrying', 'blocked', 'waiting_children', 'leased'],
      ...['completed', 'cancelled', 'dead'],
    ],
  }),
  limit: count('At most this many', { maximum: 1000 }),
  cursor: text('As it came with the page before'),
});

export const job = open({
  id: text('Id'),
  queue: text('Queue'),
  state: text('waiting, delayed, retrying, blocked, waiting_children, leased, completed, cancelled or dead'),
  reason: text('Why it is in that state'),
  priority: count('Priority'),
  dedupKey: text('Deduplication key'),
  limitKey: { type: ['string', 'null'] },
  ...received,
  readyAtMs: count('When it becomes ready'),
  leaseEpoch: count('Of the present or last lease'),
  leaseDeadlineMs: count('When the lease ends'),
  worker: text('Who holds it'),
  counters: open({
    acquired: count('Leases'),
    failed: count('Failed attempts'),
    timedOut: count('Attempts that ran out'),
    released: count('Given back uncounted'),
  }),
  lastError: text('What the last failed attempt said'),
  sourceQueue: text('Dead jobs: where it came from'),
  sourceId: text('Dead jobs: its id there'),
  attempts: list(
    open({
      number: count('Of the failed and timed-out attempts of one life, from 1'),
      kind: text('failed or timed_out'),
      atMs: count('When it ended'),
      durationMs: count('From the lease to its end'),
      worker: text('Who'),
      build: text('The version of the program'),
      error: text('What it said'),
    }),
  ),
  redrives: count('How often it came back from a dead-letter queue'),
  firstEnqueuedAtMs: count('Dead and redriven jobs: when it was enqueued for the first time'),
  firstId: text('Dead and redriven jobs: the id it had then'),
  progress: anyJson('What its handler said last; null: nothing'),
  progressAtMs: count('When it said so'),
  log: list(open({ number: count('From 0'), atMs: count('When'), text: text('The line') })),
  logLines: count('Lines logged in all; the last 100 are kept'),
  result: anyJson('What its handler returned; null: nothing'),
  resultContentType: text('Its content type'),
  resultBase64: text('The same, if it is not JSON'),
  finishedAtMs: count('Jobs with a result, dead and cancelled ones: when it ended'),
  parent: { type: ['object', 'null'], description: 'In a flow: queue and id of the job that waits for it' },
  children: { type: ['object', 'null'], description: 'In a flow: how many children: total, open, failed' },
});

export const jobList = open({ jobs: list(job), cursor: { type: ['string', 'null'] } });

export const history = open({
  transitions: list(
    open({
      timeMs: count('When'),
      kind: text('What happened'),
      detail: text('In words'),
      leaseEpoch: count('Lease epoch'),
      worker: text('Who'),
      shard: count('Shard'),
      position: count('Journal position'),
    }),
  ),
  trimmed: flag('Older transitions may have left the history window'),
});

export const flowEnqueued = open({
  jobs: list(open({ id: text('Id'), queue: text('Queue'), name: text('As it was given') })),
  deduplicated: flag('Nothing was enqueued: the id is that of an earlier root with the same dedupKey'),
  durability,
});

export const childrenQuery = closed({
  limit: count('At most this many', { maximum: 1000 }),
  cursor: text('As it came with the page before'),
});

export const childList = open({
  children: list(
    open({
      queue: text('Queue'),
      id: text('Id'),
      name: text('As the flow has it'),
      onFailure: text('fail-parent, ignore, continue or remove'),
      state: text('open, completed, dead or cancelled'),
      error: text('Why it did not complete'),
      result: anyJson('What its handler returned; null: nothing'),
      resultContentType: text('Its content type'),
      resultBase64: text('The same, if it is not JSON'),
      finishedAtMs: count('When it ended; 0: it is open'),
    }),
  ),
  counts: open({
    total: count('Children'),
    open: count('Not finished'),
    failed: count('Ended without an ack'),
  }),
  cursor: { type: ['string', 'null'] },
});
