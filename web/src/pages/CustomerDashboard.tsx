/** What a customer sees first: oneself, one's data objects, and what changed lately, live. */
import { useCallback, useEffect, useState } from "react";
import { Link, useLocation } from "wouter";

import { ME } from "../account/documents";
import { readManyOwnEvents } from "../account/reading";
import { noteWritten } from "../client";
import { type HistoryEvent, Timeline } from "../components/History";
import { Badge, Card, Empty, Failure, Field, Loading, Moment, Page } from "../components/ui";
import { CreateData } from "../data/CreateData";
import { DataTable } from "../data/DataTable";
import { LIST, SEARCH } from "../data/documents";
import { useLiveRows } from "../data/useLiveRows";
import { useDataChanges, useUserChanges } from "../live";
import { useViewer } from "../session";
import { plural } from "../text";
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

/** The newest events. The API has them oldest first, so pages are read to their end once, and then what is added. */
function useLately(): { events: readonly HistoryEvent[]; loading: boolean; error: Error | undefined; more: () => void } {
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
    again: read.again,
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
        {live.rows.length > 0 && <DataTable rows={live.rows} label="Your data objects" showOwner={false} />}
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
  const lately = useLately();
  const follow = (position: string) => {
    noteWritten(position);
    lately.more();
  };
  useUserChanges(
    { userId: viewer.id },
    {
      onChange: ({ position, user }) => {
        if (!user) return;
        read.again();
        follow(position);
      },
      onGap: () => {
        read.again();
        lately.more();
      },
    },
  );
  useDataChanges({ ownerId: viewer.id }, { onChange: ({ position }) => follow(position), onGap: lately.more });
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
        <Card title="What changed lately">
          {lately.error && <Failure error={lately.error} again={lately.more} />}
          {lately.loading && <Loading />}
          {!lately.loading && !lately.error && !lately.events.length && <Empty>Nothing yet. Changes show here at once.</Empty>}
          <Timeline
            events={lately.events.toReversed()}
            viewerId={viewer.id}
            about={({ dataId }) => dataId && "of a data object"}
          />
        </Card>
      </div>
      <OwnData />
    </Page>
  );
}
