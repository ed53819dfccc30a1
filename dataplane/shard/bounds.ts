// How large a journal entry may become, by whom. An entry that the journal refuses would come again after
// each restart (leases that end, jobs that die), so every part is bounded and the parts fit.
import assert from 'node:assert/strict';
import { ENTRY_BYTES_MAX } from '../journal/journal.ts';

/** Above this the open batch takes no further command until it is sealed. */
export const BATCH_SOFT_BYTES = 768 * 1024;
/**
 * Events of one command, or of one transaction. The shard refuses more with BATCH_TOO_LARGE at the first
 * event; a command that emits several must see to it before the first.
 */
export const COMMAND_BYTES_MAX = 3 * 1024 * 1024;
/** Of a stored reply: at most one number for each of 100,000 settlements. */
export const REPLY_BYTES_MAX = 1920 * 1024;
/** What says whose effects they are: up to 10,000 messages, and a step for each of 16,384 events. */
export const CAUSE_BYTES_MAX = 128 * 1024;
/** What ticks may add whatever the commands have added, so that they always get on. */
export const TICK_BYTES = 1024 * 1024;
/** The event that goes beyond that. */
export const TICK_EVENT_BYTES_MAX = 1280 * 1024;

/** Rows fetched ahead for waiting commands in one go. */
export const FETCH_ROWS_MAX = 4096;

assert(
  BATCH_SOFT_BYTES +
    COMMAND_BYTES_MAX +
    REPLY_BYTES_MAX +
    CAUSE_BYTES_MAX +
    TICK_BYTES +
    TICK_EVENT_BYTES_MAX <=
    ENTRY_BYTES_MAX,
  'a full batch is an entry',
);
