/** The status page of technical workers: how far each view and publication is, what is wrong, and what happens now. */
import { useDataChanges, useSubscription, useUserChanges } from "@rollcall/client/react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { Link } from "wouter";

import { Badge, Card, Dialog, Empty, Failure, Loading, Moment, Notice, Page, Problems } from "../components/ui";
import { Sparkline } from "../components/Sparkline";
import { Table } from "../components/Table";
import { graphql } from "../gql";
import type { ProjectionsQuery, ProjectionState, ProjectionStatusSubscription, Role } from "../gql/graphql";
import { client, useViewer } from "../session";
import { plural, sentence } from "../text";
import { useEvery, useRead, useWrite } from "../use";

const PROJECTIONS = graphql(`
  query Projections {
    projections {
      name head quarantined
      quarantine(first: 100) { userId position reason }
      verification { checkedAt usersChecked differences }
    }
  }
`);
const PROJECTION_STATUS = graphql(`
  subscription ProjectionStatus {
    projectionStatus {
      name state position head lag lagSeconds eventsPerSecond quarantined rebuildProgress lastError updatedAt
      active standbys errorNumber binlogFile binlogPosition
    }
  }
`);
const NEWEST_EVENTS = graphql(`
  query NewestEvents($after: Position, $first: Int!) {
    events(after: $after, first: $first) {
      edges { node { position type userId dataId version changedFields actorId recordedAt } }
    }
  }
`);
const REBUILD = graphql(`
  mutation RebuildProjection($name: String!) {
    rebuildProjection(name: $name) { projection { name state } errors { code message field } }
  }
`);

type ProjectionStatus = ProjectionStatusSubscription["projectionStatus"][number];

const VIEWS = ["mysql_users", "mongo_users"];
const MAY_REBUILD: readonly Role[] = ["TECHNICAL_WORKER", "ADMIN"];
const SAMPLES = 60;
const SECOND = 1_000;
const CHECK_AGAIN_MS = 15_000;
const NEWEST = 20;

const STATES: Record<ProjectionState, { kind?: "good" | "warn" | "bad"; todo: string }> = {
  LIVE: { kind: "good", todo: "" },
  CATCHING_UP: { kind: "warn", todo: "It is behind and works, or waits for its database. If it stays, read the last error." },
  REBUILDING: { kind: "warn", todo: "" },
  STOPPED: { kind: "bad", todo: "Nobody works on it. Start its projector: rollcall projector, or rollcall publish." },
  FAULTED: { kind: "bad", todo: "It has ended at something that waiting does not cure. Read the last error, then start its projector again." },
};

const decimal = (value: number): string =>
  value.toLocaleString(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Events per second of each projection, one sample a second, for the last minute. */
function useRates(projections: readonly ProjectionStatus[] | null): Record<string, number[]> {
  const [rates, become] = useState<Record<string, number[]>>({});
  const latest = useRef(projections);
  latest.current = projections;
  useEffect(() => {
    const timer = setInterval(() => {
      const now = latest.current;
      if (!now) return;
      become((before) =>
        Object.fromEntries(
          now.map(({ name, eventsPerSecond }) => [name, [...(before[name] ?? []), eventsPerSecond].slice(-SAMPLES)]),
        ),
      );
    }, SECOND);
    return () => clearInterval(timer);
  }, []);
  return rates;
}

const DAY_MS = 86_400_000;

/** The time alone while it is of today: projectors report each second. */
function Reported({ at }: { at: string | null | undefined }) {
  if (!at || Date.now() - Date.parse(at) > DAY_MS) return <Moment at={at} />;
  return (
    <time dateTime={at} title={at}>
      {new Date(at).toLocaleTimeString(undefined, { timeStyle: "medium" })}
    </time>
  );
}

function Running({ active, standbys }: { active: boolean; standbys: number }) {
  return (
    <>
      <Badge kind={active ? "good" : "bad"}>{active ? "Active" : "Not running"}</Badge>
      <div className="quiet">{standbys ? plural(standbys, "standby") : "no standby"}</div>
    </>
  );
}

function Status({ projections }: { projections: readonly ProjectionStatus[] }) {
  const rates = useRates(projections);
  return (
    <Table label="Status of replication" dense>
      <thead>
        <tr>
          <th scope="col">Projection</th>
          <th scope="col">State</th>
          <th scope="col">Running</th>
          <th scope="col">MySQL binary log</th>
          <th scope="col" className="number">Position, head</th>
          <th scope="col" className="number">Lag</th>
          <th scope="col">Throughput</th>
          <th scope="col" className="number">Quarantine</th>
          <th scope="col">Last error</th>
          <th scope="col">Updated</th>
        </tr>
      </thead>
      <tbody>
        {projections.map((one) => {
          const values = rates[one.name] ?? [one.eventsPerSecond];
          return (
            <tr key={one.name}>
              <th scope="row" className="mono">{one.name}</th>
              <td>
                <Badge kind={STATES[one.state].kind}>{sentence(one.state)}</Badge>
              </td>
              <td className="nowrap">
                <Running active={one.active} standbys={one.standbys} />
              </td>
              <td>
                {one.binlogFile ? (
                  <>
                    <span className="mono">{one.binlogFile}</span>
                    <div className="quiet">byte {one.binlogPosition}</div>
                  </>
                ) : (
                  <span className="quiet">not kept</span>
                )}
              </td>
              <td className="number">
                {one.position}
                <div className="quiet">head {one.head}</div>
              </td>
              <td className="number">
                {plural(one.lag, "event")}
                <div className="quiet">{decimal(one.lagSeconds)} s</div>
              </td>
              <td>
                <span className="number">{decimal(one.eventsPerSecond)} events/s</span>
                <Sparkline
                  values={values}
                  length={SAMPLES}
                  label={`${one.name}, the last minute: ${decimal(one.eventsPerSecond)} events per second now, at most ${decimal(Math.max(...values))}`}
                />
              </td>
              <td className="number">{one.quarantined ? plural(one.quarantined, "user") : "none"}</td>
              <td className={one.lastError ? "message" : undefined}>
                {one.lastError ? (
                  <>
                    {one.errorNumber !== null && <strong>{one.errorNumber}: </strong>}
                    {one.lastError}
                  </>
                ) : (
                  <span className="quiet">none</span>
                )}
              </td>
              <td className="nowrap">
                <Reported at={one.updatedAt} />
              </td>
            </tr>
          );
        })}
      </tbody>
    </Table>
  );
}

/** What an operator has to do, one sentence for each projection that needs it. */
function ToDo({ projections }: { projections: readonly ProjectionStatus[] }) {
  const wanting = projections.filter(({ state }) => STATES[state].todo);
  if (!wanting.length) return null;
  return (
    <Notice kind={wanting.some(({ state }) => STATES[state].kind === "bad") ? "bad" : "warn"}>
      {wanting.map(({ name, state }) => (
        <p key={name}>
          <strong>{name}</strong> is {sentence(state).toLowerCase()}. {STATES[state].todo}
        </p>
      ))}
    </Notice>
  );
}

/** The progress comes from the server, so that it is here again after a reload and for everybody else. */
function Rebuilds({ projections }: { projections: readonly ProjectionStatus[] }) {
  const rebuild = useWrite(REBUILD, "rebuildProjection");
  const [asked, ask] = useState<string | null>(null);
  const [seen, see] = useState<readonly string[]>([]);
  const rebuilding = projections.filter(({ state }) => state === "REBUILDING").map(({ name }) => name);
  const key = rebuilding.join();
  useEffect(() => {
    if (key) see((before) => [...new Set([...before, ...key.split(",")])]);
  }, [key]);
  return (
    <Card title="Rebuild a view">
      <p>A rebuild reads the whole log and fills a new copy of the view. The view goes on serving meanwhile.</p>
      <Problems problems={rebuild.problems} />
      <ul className="plain stack">
        {projections
          .filter(({ name }) => VIEWS.includes(name))
          .map(({ name, state, rebuildProgress, lastError }) => (
            <li key={name}>
              <div className="row">
                <strong className="mono">{name}</strong>
                <Badge kind={STATES[state].kind}>{sentence(state)}</Badge>
                {/* Not `disabled`, which would take the focus away from who has just pressed it. */}
                <button aria-disabled={state === "REBUILDING"} onClick={() => state !== "REBUILDING" && ask(name)}>
                  Rebuild {name}
                </button>
              </div>
              {state === "REBUILDING" && (
                <div>
                  <progress aria-label={`Rebuild of ${name}`} value={rebuildProgress ?? 0} max={1} />
                  <span className="quiet">{decimal((rebuildProgress ?? 0) * 100)} % of the log is in the new copy</span>
                </div>
              )}
              <div aria-live="polite">
                {seen.includes(name) && state === "LIVE" && (
                  <Notice kind={lastError ? "warn" : "good"}>
                    {lastError ? `The rebuild of ${name} has ended. ${lastError}` : `${name} is rebuilt, and live.`}
                  </Notice>
                )}
                {seen.includes(name) && state === "CATCHING_UP" && (
                  <Notice>The new copy of {name} is in use. It takes up the newest events.</Notice>
                )}
              </div>
            </li>
          ))}
      </ul>
      <Dialog
        title={`Rebuild ${asked}?`}
        open={asked !== null}
        onClose={() => ask(null)}
        onSubmit={() => {
          const name = asked;
          ask(null);
          if (name) void rebuild.send({ name });
        }}
        actions={
          <button className="primary" type="submit">
            Rebuild {asked}
          </button>
        }
      >
        <p>
          The projector reads every event of the log into a new copy, then swaps it in. Until then <code>{asked}</code> serves
          what it has and goes on taking new events. The work loads the databases: a million events take some minutes.
        </p>
        <p>The copy that was replaced is kept, so that an operator can roll back. The quarantine of the view starts empty.</p>
      </Dialog>
    </Card>
  );
}

type Held = ProjectionsQuery["projections"][number];

function Quarantine({ projections }: { projections: readonly Held[] }) {
  const held = projections.flatMap((one) => one.quarantine.map((user) => ({ name: one.name, ...user })));
  return (
    <Card title="Quarantine">
      {held.length === 0 ? (
        <Empty>No user is in quarantine: every event could be applied. There is nothing to do.</Empty>
      ) : (
        <div className="stack">
          <p>
            A view holds the events of these users back and goes on with all others. Mend the cause, then run the command. A
            rebuild starts with an empty quarantine.
          </p>
          <Table label="Users in quarantine">
            <thead>
              <tr>
                <th scope="col">Projection</th>
                <th scope="col">User</th>
                <th scope="col" className="number">Position</th>
                <th scope="col">Reason</th>
                <th scope="col">What to do</th>
              </tr>
            </thead>
            <tbody>
              {held.map((user) => (
                <tr key={`${user.name} ${user.userId}`}>
                  <td className="mono">{user.name}</td>
                  <td>
                    <Link className="mono" href={`/users/${user.userId}`}>
                      {user.userId}
                    </Link>
                  </td>
                  <td className="number">{user.position}</td>
                  <td className="message">{user.reason}</td>
                  <td>
                    <code>
                      rollcall quarantine retry {user.name.replace("_users", "")} {user.userId}
                    </code>
                  </td>
                </tr>
              ))}
            </tbody>
          </Table>
          {projections
            .filter(({ quarantined, quarantine }) => quarantined > quarantine.length)
            .map(({ name, quarantined, quarantine }) => (
              <p key={name} className="quiet">
                {name}: the newest {quarantine.length} of {plural(quarantined, "user")}. <code>rollcall quarantine list</code>{" "}
                shows all.
              </p>
            ))}
        </div>
      )}
    </Card>
  );
}

function Verify({ projections }: { projections: readonly Held[] }) {
  const checked = projections.filter(({ verification }) => verification);
  return (
    <Card title="Verification">
      {checked.length === 0 ? (
        <Empty>
          The continuous check has not ended a round yet. To compare a whole view with the log now, run{" "}
          <code>rollcall verify</code>.
        </Empty>
      ) : (
        <div className="stack">
          <Table label="Results of verification">
            <thead>
              <tr>
                <th scope="col">Projection</th>
                <th scope="col">Result</th>
                <th scope="col" className="number">Checked</th>
                <th scope="col">At</th>
              </tr>
            </thead>
            <tbody>
              {checked.map(({ name, verification }) => (
                <tr key={name}>
                  <th scope="row" className="mono">{name}</th>
                  <td>
                    <Badge kind={verification?.differences ? "bad" : "good"}>
                      {verification?.differences ? plural(verification.differences, "difference") : "As the log says"}
                    </Badge>
                  </td>
                  <td className="number">{plural(verification?.usersChecked ?? 0, "user")}</td>
                  <td>
                    <Moment at={verification?.checkedAt} />
                  </td>
                </tr>
              ))}
            </tbody>
          </Table>
          {checked.some(({ verification }) => verification?.differences) && (
            <p>
              <code>rollcall verify</code> lists each difference. A rebuild of the view removes them.
            </p>
          )}
        </div>
      )}
    </Card>
  );
}

interface Happening {
  position: string;
  type: string;
  userId: string;
  dataId?: string | null;
  version: number;
  changedFields: readonly string[];
  recordedAt: string;
}

/** The newest events, and each new one as it is written. */
function Newest({ head }: { head: string }) {
  const start = useRef(head).current;
  const [events, become] = useState<readonly Happening[] | null>(null); // null: not read yet
  const [error, fail] = useState<Error>();
  const [turn, setTurn] = useState(0);
  const add = (found: readonly Happening[]) =>
    become((shown) => {
      const before = shown ?? [];
      const known = new Set(before.map(({ position }) => position));
      const all = [...found.filter(({ position }) => !known.has(position)), ...before];
      return all.sort((one, other) => Number(BigInt(other.position) - BigInt(one.position))).slice(0, NEWEST);
    });
  useEffect(() => {
    // Positions are dense, so the newest events begin that many before the head.
    const after = BigInt(start) > BigInt(NEWEST) ? String(BigInt(start) - BigInt(NEWEST)) : "0";
    client.query(NEWEST_EVENTS, { after, first: NEWEST }).then(({ data }) => {
      fail(undefined);
      add(data.events.edges.map(({ node }) => node));
    }, fail);
  }, [start, turn]);
  useUserChanges({ after: start }, (change) => add([change]));
  useDataChanges({ after: start }, ({ ownerId, ...change }) => add([{ ...change, userId: ownerId }]));
  return (
    <Card title="Newest events" actions={<Link href="/audit">Open the audit log</Link>}>
      {error && <Failure error={error} again={() => setTurn(turn + 1)} />}
      {events === null ? (
        !error && <Loading />
      ) : events.length === 0 ? (
        !error && <Empty>The log has no event yet. Each one shows here as soon as it is written.</Empty>
      ) : (
        <Table label="Table of the newest events">
          <thead>
            <tr>
              <th scope="col" className="number">Position</th>
              <th scope="col">Event</th>
              <th scope="col">User</th>
              <th scope="col">Changed fields</th>
              <th scope="col">Recorded</th>
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <tr key={event.position} className={BigInt(event.position) > BigInt(start) ? "changed" : undefined}>
                <td className="number">{event.position}</td>
                <td>{sentence(event.type)}</td>
                <td>
                  <Link className="mono" href={`/users/${event.userId}`}>
                    {event.userId}
                  </Link>
                </td>
                <td>{event.changedFields.join(", ") || <span className="quiet">none</span>}</td>
                <td>
                  <Moment at={event.recordedAt} />
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Card>
  );
}

export default function Operations({ tabs }: { tabs?: ReactNode }) {
  const { role } = useViewer();
  const [live, become] = useState<readonly ProjectionStatus[] | null>(null); // null: not known yet
  useSubscription(PROJECTION_STATUS, {}, ({ projectionStatus }) => become(projectionStatus));
  const read = useRead(PROJECTIONS, {});
  const held = read.data?.projections ?? [];
  const quarantined = live?.map((one) => one.quarantined).join();
  const first = useRef(true);
  useEffect(() => {
    if (quarantined === undefined) return;
    if (!first.current) read.again();
    first.current = false;
  }, [quarantined]);
  useEvery(CHECK_AGAIN_MS, read.again);
  const head = held[0]?.head;
  return (
    <Page title="Operations" actions={tabs} wide>
      {live ? <ToDo projections={live} /> : null}
      <Card title="Replication">
        {live === null && <Loading />}
        {live?.length === 0 && (
          <Empty>
            No projector has reported yet. Start one: <code>rollcall projector</code>.
          </Empty>
        )}
        {live && live.length > 0 && <Status projections={live} />}
      </Card>
      {live && MAY_REBUILD.includes(role) && <Rebuilds projections={live} />}
      {read.error && <Failure error={read.error} again={read.again} />}
      {read.data && (
        <>
          <Quarantine projections={held} />
          <Verify projections={held} />
          {head && <Newest head={head} />}
        </>
      )}
    </Page>
  );
}
