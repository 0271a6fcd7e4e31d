/** What happened to a user, newest first, in pages. */
import { useState } from "react";
import { Link } from "wouter";

import { Badge, Empty, Failure, Loading, Moment } from "../components/ui";
import { sentence } from "../text";
import type { History } from "./history";
import { useNames } from "./names";

const PAGE = 20;

export function Timeline({ history, userId }: { history: History; userId: string }) {
  const [page, turn] = useState(0);
  const events = history.events.toReversed().slice(page * PAGE, (page + 1) * PAGE);
  const names = useNames(events.flatMap(({ actorId }) => (actorId && actorId !== userId ? [actorId] : [])));
  if (history.error) return <Failure error={history.error} again={history.read} />;
  if (history.loading) return <Loading />;
  if (!history.events.length) return <Empty>There are no events of this user.</Empty>;
  const pages = Math.ceil(history.events.length / PAGE);
  return (
    <div className="stack">
      <ol className="timeline">
        {events.map((event) => (
          <li key={event.id}>
            <strong>{sentence(event.type)}</strong> <Badge>version {event.version}</Badge> <Moment at={event.recordedAt} />
            <div className="quiet wrap">
              {event.changedFields.length > 0 && <>Changed: {event.changedFields.join(", ")}. </>}
              {event.actorId === userId ? (
                "By the user."
              ) : event.actorId ? (
                <>
                  By <Link href={`/users/${event.actorId}`}>{names.get(event.actorId) ?? "another user"}</Link>.
                </>
              ) : (
                "Without a sign-in."
              )}
            </div>
          </li>
        ))}
      </ol>
      {history.more && (
        <p>
          Only the first {history.events.length.toLocaleString()} events are read.{" "}
          <button onClick={history.read}>Read more events</button>
        </p>
      )}
      {pages > 1 && (
        <nav className="row" aria-label="Pages of the history">
          <button disabled={page === 0} onClick={() => turn(page - 1)}>
            Newer events
          </button>
          <span>
            Page {page + 1} of {pages}
          </span>
          <button disabled={page >= pages - 1} onClick={() => turn(page + 1)}>
            Older events
          </button>
        </nav>
      )}
    </div>
  );
}
