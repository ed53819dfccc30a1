// What the events of life-events.ts do to the state of the queue view: the rules of evolve.ts hold.
import assert from 'node:assert/strict';
import type { Moment } from '../shard/state-machine.ts';
import { evolveCancelled } from './cancel.ts';
import type { QueueCell } from './cell.ts';
import type { QueueState } from './evolve.ts';
import * as life from './life-events.ts';
import { BY_OFFSET } from './life-tables.ts';
import { evolveKept, evolveReported } from './reports.ts';

export function evolveLife(state: QueueState, e: life.LifeEvent, at: Moment): void {
  if (e.type === life.FORGOTTEN) {
    forget(state, e);
    return;
  }
  const cell = state.byNumber.get(e.queueNo);
  assert(cell !== undefined, `queue ${e.queueNo} of event ${e.type} exists`);
  cell.isDirty = true;
  const { rows } = state.context;
  switch (e.type) {
    case life.SESSION_OPENED:
      openSession(cell, e);
      return;
    case life.REDRIVE_CHANGED:
      changeRedrive(state, cell, e);
      return;
    case life.CANCELLED:
      evolveCancelled(state, cell, e, at);
      return;
    case life.DRAINING:
      cell.state.draining = e.draining;
      return;
    case life.KEPT:
      evolveKept(rows, cell, e, at);
      return;
    case life.REPORTED:
      evolveReported(rows, cell, e, at);
  }
}

function changeRedrive({ context: { rows } }: QueueState, cell: QueueCell, e: life.RedriveChanged): void {
  const before = cell.redrive;
  cell.redrive = e.task;
  rows.onRollback(() => {
    cell.redrive = before;
  });
}

function openSession(cell: QueueCell, e: life.SessionOpened): void {
  const { sessionId: id, worker, build, untilMs, visibilityMs, concurrency } = e;
  cell.sessions.set(id, { id, worker, build, untilMs, visibilityMs, concurrency });
}

function forget({ context: { rows } }: QueueState, e: life.Forgotten): void {
  const table = BY_OFFSET.find(({ id }) => id === e.table);
  if (table !== undefined) for (const key of e.keys) rows.del(table, key);
}
