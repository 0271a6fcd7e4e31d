import { useDataChanges, useUserChanges } from "@rollcall/client/react";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { Link, useSearchParams } from "wouter";

import { Table } from "../components/Table";
import { Badge, Card, Check, Empty, Failure, Field, Loading, Moment, Page, Select } from "../components/ui";
import type { UserEventType } from "../gql/graphql";
import { csv, download, plural, sentence } from "../text";
import { type AuditEvent, type EventFilter, type EventPage, eventsAfter, eventsBefore } from "../users/events";
import { useHead } from "../users/head";
import { useNames } from "../users/names";

const TYPES: readonly UserEventType[] = [
  "USER_REGISTERED",
  "USER_UPDATED",
  "PASSWORD_CHANGED",
  "ROLE_CHANGED",
  "EMAIL_VERIFIED",
  "USER_DELETED",
  "DATA_CREATED",
  "DATA_UPDATED",
  "DATA_TRANSFERRED",
  "DATA_DELETED",
];
const SIZES = [20, 50, 100];
const POSITION = /^\d{1,19}$/;

function Who(props: { id: string | null | undefined; names: ReadonlyMap<string, string | null> }) {
  const { id, names } = props;
  if (!id) return <span className="quiet">no sign-in</span>;
  const name = names.get(id);
  return (
    <Link href={`/users/${id}`} title={id}>
      {name ?? (name === null ? "deleted user" : `…${id.slice(-8)}`)}
    </Link>
  );
}

function Filters(props: { userId: string; types: readonly UserEventType[]; onChange: (userId: string, types: UserEventType[]) => void }) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    props.onChange(String(new FormData(event.currentTarget).get("user") ?? "").trim(), [...props.types]);
  };
  return (
    <div className="stack">
      <form className="row bottoms" onSubmit={submit} role="search">
        <div className="grow">
          <Field
            key={props.userId}
            label="User id"
            name="user"
            defaultValue={props.userId}
            autoComplete="off"
            spellCheck={false}
            placeholder="All users"
            hint="Events of the user’s own record. Those of a data object are on its own page."
          />
        </div>
        <button type="submit">Apply</button>
      </form>
      <fieldset className="row">
        <legend>Types of events (none chosen: all)</legend>
        {TYPES.map((type) => (
          <Check
            key={type}
            label={sentence(type)}
            checked={props.types.includes(type)}
            onChange={(event) =>
              props.onChange(
                props.userId,
                TYPES.filter((one) => (one === type ? event.target.checked : props.types.includes(one))),
              )
            }
          />
        ))}
      </fieldset>
    </div>
  );
}

const COLUMNS = ["position", "recorded at", "type", "user", "data object", "version", "changed fields", "actor"];

function asCsv(events: readonly AuditEvent[]): string {
  return csv(
    COLUMNS,
    events.map((event) => [
      event.position,
      event.recordedAt,
      event.type,
      event.userId,
      event.dataId,
      event.version,
      event.changedFields.join(" "),
      event.actorId,
    ]),
  );
}

export default function Audit() {
  const [params, setParams] = useSearchParams();
  const userId = params.get("user") ?? "";
  const types = TYPES.filter((type) => params.getAll("type").includes(type));
  const wantedSize = Number(params.get("size"));
  const size = SIZES.includes(wantedSize) ? wantedSize : 50;
  const place = (name: string) => {
    const value = params.get(name);
    return value !== null && POSITION.test(value) ? value : null;
  };
  const after = place("after");
  const before = place("before");
  const atEnd = after === null && before === null;

  const head = useHead();
  const { again: readHead } = head;
  const [page, setPage] = useState<EventPage | null>(null);
  const [error, setError] = useState<Error | undefined>();
  const [turn, setTurn] = useState(0);
  const [fresh, setFresh] = useState(0);
  const filter: EventFilter = { ...(userId ? { userId } : {}), ...(types.length ? { types } : {}) };
  const key = JSON.stringify(filter);

  useEffect(() => {
    if (head.position === null) return undefined;
    let current = true;
    const wanted = JSON.parse(key) as EventFilter;
    const end = BigInt(head.position) + 1n;
    const reading =
      after !== null
        ? eventsAfter(wanted, size, BigInt(after))
        : eventsBefore(wanted, size, before !== null ? BigInt(before) : end, before !== null);
    reading.then(
      (found) => {
        if (!current) return;
        setPage(found);
        setError(undefined);
      },
      (problem: unknown) => current && setError(problem as Error),
    );
    return () => {
      current = false;
    };
  }, [head.readings, key, size, after, before, turn]);

  // Many events at once are one drawing.
  const counted = useRef(0);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => () => void (timer.current && clearTimeout(timer.current)), []);
  useEffect(() => {
    counted.current = 0;
    setFresh(0);
  }, [key, head.readings]);
  const onEvent = ({ type }: { type: UserEventType }) => {
    if (types.length && !types.includes(type)) return;
    counted.current += 1;
    timer.current ??= setTimeout(() => {
      timer.current = null;
      setFresh(counted.current);
    }, 100);
  };
  // What happens after the head that the page began with. Events of one user are those of its own record.
  const following = head.position === null ? null : { after: head.position };
  useUserChanges(following && { ...following, ...(userId && { userId }) }, onEvent, { onLogChanged: readHead });
  useDataChanges(userId ? null : following, onEvent, { onLogChanged: readHead });

  const go = (changes: Record<string, string | null>) =>
    setParams((now) => {
      const next = new URLSearchParams(now);
      for (const name of ["after", "before"]) next.delete(name);
      for (const [name, value] of Object.entries(changes)) {
        if (value === null) next.delete(name);
        else next.set(name, value);
      }
      return next;
    });
  const newest = () => {
    go({});
    readHead();
  };
  const events = page?.events ?? [];
  const names = useNames(events.flatMap(({ userId: user, actorId }) => (actorId ? [user, actorId] : [user])));
  const filtered = userId !== "" || types.length > 0;

  return (
    <Page
      title="Audit log"
      actions={
        <button disabled={!events.length} onClick={() => download("audit.csv", "text/csv", asCsv(events))}>
          Download this page as CSV
        </button>
      }
    >
      <Card>
        <Filters
          userId={userId}
          types={types}
          onChange={(user, chosen) =>
            setParams(() => {
              const next = new URLSearchParams();
              if (user) next.set("user", user);
              for (const type of chosen) next.append("type", type);
              if (size !== 50) next.set("size", String(size));
              return next;
            })
          }
        />
      </Card>
      <div className="row between" role="status">
        <span>{page ? (events.length ? `${plural(events.length, "event")}, newest first` : "No events") : ""}</span>
        {fresh > 0 && (
          <button className="pill" onClick={newest}>
            {fresh.toLocaleString()} new: show
          </button>
        )}
      </div>
      {head.error && <Failure error={head.error} again={head.again} />}
      {error && <Failure error={error} again={() => setTurn(turn + 1)} />}
      {!page && !error && !head.error && <Loading />}
      {page && !events.length && (
        <Empty>
          <p>{filtered ? "No event matches." : "Nothing has happened yet."}</p>
          {filtered && <button onClick={() => setParams(new URLSearchParams())}>Remove all filters</button>}
        </Empty>
      )}
      {events.length > 0 && (
        <Table label="Events">
          <thead>
            <tr>
              <th scope="col" className="number">
                Position
              </th>
              <th scope="col">Time</th>
              <th scope="col">Event</th>
              <th scope="col">User</th>
              <th scope="col">By</th>
              <th scope="col">Changed fields</th>
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <tr key={event.id}>
                <td className="number">{event.position}</td>
                <td>
                  <Moment at={event.recordedAt} />
                </td>
                <td>
                  {sentence(event.type)} <Badge>version {event.version}</Badge>
                  {event.dataId && (
                    <div className="quiet" title={event.dataId}>
                      data object …{event.dataId.slice(-8)}
                    </div>
                  )}
                </td>
                <td>
                  <Who id={event.userId} names={names} />
                </td>
                <td>
                  <Who id={event.actorId} names={names} />
                </td>
                <td className="wrap">{event.changedFields.join(", ") || <span className="quiet">none</span>}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      {page && (
        <div className="row between">
          <nav className="row" aria-label="Pages">
            <button disabled={atEnd && fresh === 0} onClick={newest}>
              Jump to the end
            </button>
            <button disabled={!page.newer} onClick={() => go({ after: events[0]?.position ?? after ?? "0" })}>
              Newer events
            </button>
            <button disabled={!page.older} onClick={() => go({ before: events.at(-1)?.position ?? before })}>
              Older events
            </button>
            <button disabled={after === "0"} onClick={() => go({ after: "0" })}>
              From the start
            </button>
          </nav>
          <div className="row">
            <Select
              label="Events on a page"
              value={size}
              onChange={(event) => go({ size: event.target.value })}
            >
              {SIZES.map((one) => (
                <option key={one} value={one}>
                  {one} a page
                </option>
              ))}
            </Select>
          </div>
        </div>
      )}
    </Page>
  );
}
