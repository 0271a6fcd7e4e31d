/** What a customer sees first: oneself, one's data objects, and what changed lately, live. */
import { useDataChanges, useUserChanges } from "@rollcall/client/react";
import { useCallback, useEffect, useState } from "react";
import { Link, useLocation } from "wouter";

import { ME } from "../account/documents";
import { readManyOwnEvents } from "../account/reading";
import type { HistoryEvent } from "../components/History";
import { Badge, Card, Empty, Failure, Field, Loading, Moment, Page } from "../components/ui";
import { CreateData } from "../data/CreateData";
import { DataTable } from "../data/DataTable";
import { LIST, SEARCH } from "../data/documents";
import { useLiveRows } from "../data/useLiveRows";
import type { UserEventType } from "../gql/graphql";
import { useViewer } from "../session";
import { plural, sentence } from "../text";
import { useRead } from "../use";

const ROWS = 10;
const LATELY = 8;
const MOST_PAGES = 50;
const NONE: never[] = [];
const NEWEST = {
  filter: {},
  orderBy: { field: "UPDATED_AT", direction: "DESC" } as const,
  first: ROWS,
  count: true,
};

/** Something that changed: of oneself an event of the log, of a data object its last change. */
interface Change {
  key: string;
  at: string;
  version: number;
  type: UserEventType;
  data?: { number: number | null; name: string };
}

/** The newest events of oneself. The API has them oldest first, so pages are read to their end once, and then what is added. */
function useOwnEvents(): { events: readonly HistoryEvent[]; loading: boolean; error: Error | undefined; more: () => void } {
  const [state, become] = useState<{ events: readonly HistoryEvent[]; after: string | null; loading: boolean; error?: Error }>({
    events: [],
    after: null,
    loading: true,
  });
  const [turn, setTurn] = useState(0);
  const { after } = state;
  useEffect(() => {
    let current = true;
    const read = async () => {
      let cursor = after;
      let newest: readonly HistoryEvent[] = [];
      for (let pages = 0; pages < MOST_PAGES; pages++) {
        const page = await readManyOwnEvents(cursor);
        newest = [...newest, ...page.events].slice(-LATELY);
        cursor = page.endCursor ?? cursor;
        if (!page.hasNextPage) break;
      }
      if (!current) return;
      become((before) => ({ events: [...before.events, ...newest].slice(-LATELY), after: cursor, loading: false }));
    };
    read().catch((error: unknown) => {
      if (current) become((before) => ({ ...before, loading: false, error: error as Error }));
    });
    return () => {
      current = false;
    };
    // Only another turn reads again; `after` is where the last one ended.
  }, [turn]);
  const more = useCallback(() => setTurn((one) => one + 1), []);
  return { events: state.events, loading: state.loading, error: state.error, more };
}

/** What changed lately: own events, the last change of each data object, and what happens from now on. */
function Lately() {
  const viewer = useViewer();
  const own = useOwnEvents();
  const objects = useRead(LIST, NEWEST);
  const [seen, see] = useState<readonly Change[]>([]);
  const [after] = useState(viewer.position);
  useUserChanges({ userId: viewer.id, after }, ({ user }) => user && own.more(), { onLogChanged: own.more });
  useDataChanges(
    objects.position === undefined ? null : { ownerId: viewer.id, after: objects.position },
    ({ dataId, version, recordedAt, type, data }) => {
      const known = [...seen, ...changes].find(({ key }) => key.startsWith(dataId))?.data;
      const about = data ?? { number: null, name: known?.name ?? "" };
      see((before) => [...before, { key: `${dataId} ${version}`, at: recordedAt, version, type, data: about }].slice(-LATELY));
    },
    { onLogChanged: objects.again },
  );
  const changes: readonly Change[] = [
    ...own.events.map(({ id, recordedAt, version, type }) => ({ key: id, at: recordedAt, version, type })),
    ...(objects.data?.dataObjects.edges ?? []).map(({ node }) => ({
      key: `${node.id} ${node.version}`,
      at: node.updatedAt,
      version: node.version,
      type: node.version === 1 ? ("DATA_CREATED" as const) : ("DATA_UPDATED" as const),
      data: node,
    })),
  ];
  const all = new Map([...changes, ...seen].map((change) => [change.key, change]));
  const gone = new Set(seen.filter(({ type }) => type === "DATA_DELETED").map(({ key }) => key.split(" ")[0]));
  const newest = [...all.values()]
    .sort((one, other) => Date.parse(other.at) - Date.parse(one.at))
    .slice(0, LATELY);
  const error = own.error ?? objects.error;
  const loading = (own.loading && !own.events.length) || (objects.loading && !objects.data);
  return (
    <Card title="What changed lately">
      {error && (
        <Failure
          error={error}
          again={() => {
            own.more();
            objects.again();
          }}
        />
      )}
      {loading && <Loading />}
      {!loading && !error && !newest.length && <Empty>Nothing yet. Changes show here at once.</Empty>}
      {newest.length > 0 && (
        <ol className="timeline">
          {newest.map(({ key, at, version, type, data }) => (
            <li key={key} className="wrap">
              <strong>{sentence(type)}</strong>{" "}
              {data &&
                (data.number !== null && !gone.has(key.split(" ")[0]) ? (
                  <Link href={`/data/${data.number}`}>{data.name}</Link>
                ) : (
                  data.name
                ))}{" "}
              <Badge>version {version}</Badge>
              <div className="quiet">
                <Moment at={at} />
              </div>
            </li>
          ))}
        </ol>
      )}
    </Card>
  );
}

function OwnData() {
  const viewer = useViewer();
  const [text, setText] = useState("");
  const searching = text !== "";
  const list = useRead(LIST, NEWEST, { skip: searching });
  const found = useRead(SEARCH, { text, first: ROWS, count: true }, { skip: !searching });
  const read = searching ? found : list;
  const connection = searching ? found.data?.searchData : list.data?.dataObjects;
  const live = useLiveRows(connection?.edges.map(({ node }) => node) ?? NONE, {
    ownerId: viewer.id,
    key: text,
    read,
  });
  const [, go] = useLocation();
  return (
    <Card title="Your data objects" actions={<CreateData />}>
      <div className="stack">
        <form
          className="row search"
          role="search"
          onSubmit={(event) => {
            event.preventDefault();
            setText(String(new FormData(event.currentTarget).get("text")).trim());
          }}
        >
          <Field label="Search your data" name="text" type="search" maxLength={1000} />
          <button type="submit">Search</button>
        </form>
        <div className="row news" aria-live="polite">
          <span className="quiet">
            {connection?.totalCount !== undefined &&
              `${plural(connection.totalCount, "data object")}${searching ? ` with “${text}”` : ", the last changed first"}`}
          </span>
          {live.added > 0 && (
            <button className="small" onClick={live.show}>
              {live.added} new: show
            </button>
          )}
        </div>
        {read.error && <Failure error={read.error} again={read.again} />}
        {!connection && read.loading && <Loading />}
        {connection && !live.rows.length && (
          <Empty>
            {searching
              ? "No data object has all of these words. Search for others; whole words are compared."
              : "You have no data object yet. Make the first with “New data object”."}
          </Empty>
        )}
        {live.rows.length > 0 && <DataTable rows={live.rows} label="Table of your data objects" showOwner={false} />}
        {connection?.pageInfo.hasNextPage && (
          <div>
            <button onClick={() => go(searching ? `/data?text=${encodeURIComponent(text)}` : "/data?order=UPDATED_AT&direction=DESC")}>
              Show all
            </button>
          </div>
        )}
      </div>
    </Card>
  );
}

export default function CustomerDashboard() {
  const viewer = useViewer();
  const read = useRead(ME, {});
  const [after] = useState(viewer.position);
  useUserChanges(
    { userId: viewer.id, after },
    ({ user }) => user && read.again(), // whether the email is confirmed is not in the change
    { onLogChanged: read.again },
  );
  const me = read.data?.me;
  return (
    <Page title="Dashboard">
      <div className="columns tops">
        <Card title="You" actions={<Link href="/account">Edit your account</Link>}>
          {read.error && <Failure error={read.error} again={read.again} />}
          {!me && read.loading && <Loading />}
          {me && (
            <dl className="facts">
              <dt>Name</dt>
              <dd>{me.name}</dd>
              <dt>Username</dt>
              <dd>{me.username}</dd>
              <dt>Email</dt>
              <dd>
                {me.email}{" "}
                {me.emailVerified === true && <Badge kind="good">Confirmed</Badge>}
                {me.emailVerified === false && <Badge kind="warn">Not confirmed</Badge>}
              </dd>
              <dt>Registered</dt>
              <dd>
                <Moment at={me.createdAt} />
              </dd>
              <dt>Last change</dt>
              <dd>
                <Moment at={me.updatedAt} />
              </dd>
            </dl>
          )}
        </Card>
        <Lately />
      </div>
      <OwnData />
    </Page>
  );
}
