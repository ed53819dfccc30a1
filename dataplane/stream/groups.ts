// Carries what the coordinator decided to everybody it concerns: partitions' shards first, then connected
// members.
//   D1. An assignment is told to a cursor only when it is durable at home, and to a member only when the
//       cursor knows it: else a crash could give the same epoch to somebody else.
//   D2. Per group one step at a time; a seek is one step, so no member sees its epoch without its offset.
import { FlowError } from '@flowmesh/protocol';
import type * as pb from '@flowmesh/protocol/gen/flowmesh.js';
import type { ConsumeSession } from '../services.ts';
import type { Caller } from '../shard/state-machine.ts';
import type { GroupCell, StreamCell } from './cells.ts';
import {
  type CursorPlace,
  type Grant,
  type GrantItem,
  type GroupReply,
  type Placed,
  VIEW,
} from './commands.ts';
import { commitOffsets } from './commits.ts';
import { Consumer, type MemberPort } from './consume-session.ts';
import { streamNotFound } from './declare.ts';
import { checkName, type Locator } from './locator.ts';
import { errorMessage } from './publish.ts';
import { HEARTBEAT_MS, SESSION_TIMEOUT_MS } from './state.ts';
import type { StartFrom } from './tables.ts';

/** Commits of one member that are on their way. */
const COMMITS_MAX = 1024;

export interface GroupName {
  readonly tenant: number;
  readonly stream: string;
  readonly group: string;
}

interface Live {
  readonly name: GroupName;
  readonly sessions: Map<string, Consumer>;
  /** What cursors know, by partition. */
  readonly placed: Map<number, CursorPlace>;
  /** Members that came back: where their partitions start is asked again. */
  returned: Set<string>;
  tail: Promise<void>;
  isRoundQueued: boolean;
  steps: number;
}

interface Wanted extends GrantItem {
  readonly isRevoking: boolean;
}

export class Groups {
  readonly #locator: Locator;
  readonly #live = new Map<string, Live>();

  constructor(locator: Locator) {
    this.#locator = locator;
  }

  async open(
    caller: Caller,
    hello: pb.ConsumeHello,
    send: (message: pb.ConsumeResponseInput) => boolean,
    fail: (error: FlowError) => void,
  ): Promise<ConsumeSession> {
    const { stream, group, memberId: member, client } = hello;
    checkName('group', group);
    checkName('member', member);
    const startFrom = startFromOf(hello.startFrom);
    await this.#locator.need(caller, stream);
    const name = { tenant: caller.tenant, stream, group };
    const home = this.#locator.home(stream);
    const join = {
      view: VIEW,
      kind: 'join',
      caller,
      stream,
      group,
      member,
      client,
      startFrom,
      grows: true,
    } as const;
    const { epoch } = await home.call<GroupReply>(join);
    const live = this.#need(name);
    live.sessions.get(member)?.end(fenced(`member ${member} of group ${group} has connected again`));
    const session: Consumer = new Consumer(
      hello,
      this.#portOf(caller, name, () => session),
      send,
      fail,
    );
    live.sessions.set(member, session);
    live.returned.add(member);
    this.#heard(name, member);
    session.tell({
      welcome: {
        memberId: member,
        memberEpoch: epoch,
        heartbeatMs: HEARTBEAT_MS,
        sessionTimeoutMs: SESSION_TIMEOUT_MS,
      },
    });
    this.#round(live);
    return session;
  }

  /** The coordinator decided something, and it is durable. */
  changed(name: GroupName): void {
    this.#round(this.#need(name));
  }

  /** Runs alone among the group's steps, then tells everybody the outcome (D2). */
  step<R>(name: GroupName, run: (placed: Map<number, CursorPlace>) => Promise<R>): Promise<R> {
    const live = this.#need(name);
    return new Promise((resolve, reject) => {
      this.#enqueue(live, async () => {
        await run(live.placed).then(resolve, reject);
        this.#round(live);
      });
    });
  }

  /** Members that have records on the way, and of how many partitions. */
  onTheWay({ stream, group }: Pick<GroupCell, 'stream' | 'group'>): Map<string, number> {
    const busy = new Map<string, number>();
    const live = this.#live.get(idOf({ tenant: stream.tenant, stream: stream.cell.value.name, group }));
    for (const session of live?.sessions.values() ?? []) {
      const partitions = session.onTheWay(group);
      if (partitions > 0) busy.set(session.member, partitions);
    }
    return busy;
  }

  /** The stream is gone. */
  deleted(tenant: number, stream: string): void {
    for (const live of [...this.#live.values()]) {
      if (live.name.tenant !== tenant || live.name.stream !== stream) continue;
      live.placed.clear();
      this.#endAll(live, streamNotFound(stream));
    }
  }

  #portOf(caller: Caller, name: GroupName, session: () => Consumer): MemberPort {
    const { stream, group } = name;
    const home = this.#locator.home(stream);
    let commits = 0;
    const submit = (command: { kind: string; partitions?: readonly number[] }) => {
      const { member } = session();
      home.submit({ view: VIEW, caller, stream, group, member, ...command } as never, (error) => {
        if (error === null) this.changed(name);
        else session().end(error);
      });
    };
    const forget = () => {
      const live = this.#live.get(idOf(name));
      if (live?.sessions.get(session().member) === session()) live.sessions.delete(session().member);
    };
    return {
      heard: () => this.#heard(name, session().member),
      commit: (commit, done) => {
        const { offsets, mutation } = commit;
        if (commits >= COMMITS_MAX) return done(offsets.map(() => TOO_MANY_COMMITS));
        commits++;
        const request = { stream, group, memberId: session().member, offsets, mutation };
        void commitOffsets(this.#locator, caller, request)
          .catch((error: FlowError) => offsets.map(() => errorMessage(error)))
          .then((results) => {
            commits--;
            done(results);
          });
      },
      release: (partitions) => submit({ kind: 'release', partitions }),
      leave: () => {
        forget();
        submit({ kind: 'leave' });
      },
      disconnected: forget,
      nowMs: () => home.nowMs(),
      handled: (ms) => this.#find(name)?.meter.meter.times.note(ms, 1),
    };
  }

  #heard(name: GroupName, member: string): void {
    const group = this.#find(name);
    const home = this.#locator.home(name.stream).id;
    if (group !== undefined) this.#locator.views[home]?.heard(group, member);
  }

  #find(name: GroupName): GroupCell | undefined {
    return this.#locator.find(name.tenant, name.stream)?.groups.get(name.group);
  }

  #need(name: GroupName): Live {
    const id = idOf(name);
    let live = this.#live.get(id);
    if (live === undefined) {
      live = {
        name,
        sessions: new Map(),
        placed: new Map(),
        returned: new Set(),
        tail: Promise.resolve(),
        isRoundQueued: false,
        steps: 0,
      };
      this.#live.set(id, live);
    }
    return live;
  }

  #enqueue(live: Live, run: () => Promise<void>): void {
    live.steps++;
    live.tail = live.tail.then(run).finally(() => {
      // Without members and steps nothing has to be remembered: cursors are asked again when somebody comes.
      if (--live.steps === 0 && live.sessions.size === 0) this.#live.delete(idOf(live.name));
    });
  }

  /** Queues a round unless one is waiting already: it will see everything decided until it starts. */
  #round(live: Live): void {
    if (live.isRoundQueued) return;
    live.isRoundQueued = true;
    this.#enqueue(live, async () => {
      live.isRoundQueued = false;
      try {
        await this.#tellAll(live);
      } catch (error) {
        this.#endAll(live, error as FlowError);
      }
    });
  }

  async #tellAll(live: Live): Promise<void> {
    const { name } = live;
    const stream = this.#locator.find(name.tenant, name.stream);
    const group = stream?.groups.get(name.group);
    if (stream === undefined || group === undefined) return this.#endAll(live, streamNotFound(name.stream));
    // All of this is of one moment; what comes later has a round of its own.
    const sessions = [...live.sessions.values()];
    const members = new Set(group.members.keys());
    const memberEpoch = group.cell.value.epoch;
    const wanted = wantedOf(group);
    const { returned } = live;
    live.returned = new Set();
    await this.#locator.home(name.stream).settled(); // D1
    const unknown = wanted.filter(
      (each) => live.placed.get(each.partition)?.epoch !== each.epoch || returned.has(each.owner),
    );
    for (const place of await this.#grant(name, unknown)) live.placed.set(place.partition, place);
    for (const session of sessions) {
      if (!members.has(session.member)) {
        session.end(fenced(`member ${session.member} was not heard of for ${SESSION_TIMEOUT_MS} ms`));
      } else session.assign({ memberEpoch, ...this.#shareOf(stream, live, wanted, session.member) });
    }
  }

  #shareOf(stream: StreamCell, live: Live, wanted: readonly Wanted[], member: string) {
    const mine = wanted.filter(({ owner }) => owner === member);
    const owned = mine.filter(({ isRevoking }) => !isRevoking);
    return {
      owned: owned.map(({ partition, epoch }) => {
        const offset = live.placed.get(partition)?.offset ?? 0;
        return { partition: this.#locator.partition(stream, partition), epoch, offset };
      }),
      revoking: mine.filter(({ isRevoking }) => isRevoking).map(({ partition }) => partition),
    };
  }

  async #grant(name: GroupName, wanted: readonly Wanted[]): Promise<CursorPlace[]> {
    const caller: Caller = { identity: 'system', tenant: name.tenant, deadlineMs: 0 };
    const byShard = this.#locator.byShard(name.stream, wanted);
    const calls = [...byShard].map(async ([shard, items]) => {
      const command: Grant = {
        view: VIEW,
        kind: 'grant',
        caller,
        stream: name.stream,
        group: name.group,
        items,
      };
      return (await shard.call<Placed>(command)).places;
    });
    return (await Promise.all(calls)).flat();
  }

  #endAll(live: Live, error: FlowError): void {
    for (const session of [...live.sessions.values()]) session.end(error);
  }
}

/** `latest` is for the partitions that were there when the group began; it has seen nothing of later ones. */
function wantedOf(group: GroupCell): Wanted[] {
  const { initialPartitions } = group.cell.value;
  return [...group.assignments].map(([partition, { value }]) => {
    const chosen = group.members.get(value.owner)?.cell.value.startFrom ?? 'earliest';
    const startFrom = partition < initialPartitions ? chosen : 'earliest';
    return {
      partition,
      owner: value.owner,
      epoch: value.epoch,
      startFrom,
      isRevoking: value.target !== null,
    };
  });
}

function startFromOf(text: string): StartFrom {
  if (text === '' || text === 'earliest') return 'earliest';
  if (text === 'latest') return 'latest';
  throw new FlowError('INVALID_ARGUMENT', `start_from is earliest or latest, not ${text}`);
}

const TOO_MANY_COMMITS: pb.ErrorInput = errorMessage(
  new FlowError('RESOURCE_EXHAUSTED', `${COMMITS_MAX} commits are on their way`, { retryAfterMs: 100 }),
);

const fenced = (why: string) => new FlowError('MEMBER_FENCED', `${why}; join again`);

const idOf = ({ tenant, stream, group }: GroupName) => `${tenant} ${stream}\0${group}`;
