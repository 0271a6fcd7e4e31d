/** Sessions and data objects of a user. */
import { useDataChanges } from "@rollcall/client/react";
import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";

import { Table } from "../components/Table";
import { Badge, Empty, Failure, Loading, Moment, type Problem, Problems } from "../components/ui";
import { END_SESSION, SESSIONS } from "../documents";
import { plural } from "../text";
import { useRead, write } from "../use";
import { USER_DATA } from "./documents";

export function Sessions({ userId, username }: { userId: string; username: string }) {
  const { data, error, again } = useRead(SESSIONS, { userId });
  const [problems, setProblems] = useState<readonly Problem[]>([]);
  const [ending, setEnding] = useState<string | null>(null);
  const end = async (id: string) => {
    setEnding(id);
    setProblems((await write(END_SESSION, "endSession", { id })).problems);
    setEnding(null);
    again();
  };
  if (error) return <Failure error={error} again={again} />;
  if (!data) return <Loading />;
  return (
    <div className="stack">
      <Problems problems={problems} />
      {!data.sessions.length && <Empty>{username} is not signed in anywhere. There is nothing to end.</Empty>}
      {data.sessions.length > 0 && (
        <Table label="Table of sessions">
          <thead>
            <tr>
              <th scope="col">Device</th>
              <th scope="col">Address</th>
              <th scope="col">Signed in</th>
              <th scope="col">Last seen</th>
              <th scope="col">Ends</th>
              <th scope="col">
                <span className="sr-only">End</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {data.sessions.map((session) => (
              <tr key={session.id}>
                <td>
                  {session.device ?? "unknown device"} {session.current && <Badge kind="good">this one</Badge>}
                </td>
                <td>{session.address ?? "unknown"}</td>
                <td>
                  <Moment at={session.startedAt} />
                </td>
                <td>
                  <Moment at={session.lastSeenAt} />
                </td>
                <td>
                  <Moment at={session.expiresAt} />
                </td>
                <td>
                  <button
                    className="danger small"
                    aria-label={`End the session on ${session.device ?? "an unknown device"}`}
                    disabled={ending !== null}
                    onClick={() => void end(session.id)}
                  >
                    {ending === session.id ? "Ending…" : "End"}
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <p className="flat">
        <button onClick={again}>Read the sessions again</button>
      </p>
    </div>
  );
}

const SETTLED_MS = 300;

export function DataObjects({ userId, username }: { userId: string; username: string }) {
  const [cursors, setCursors] = useState<readonly string[]>([]);
  const after = cursors.at(-1) ?? null;
  const { data, position, error, again } = useRead(USER_DATA, { id: userId, after });
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => () => void (timer.current && clearTimeout(timer.current)), []);
  useDataChanges(
    position === undefined ? null : { ownerId: userId, after: position },
    () => {
      timer.current ??= setTimeout(() => {
        timer.current = null;
        again();
      }, SETTLED_MS);
    },
    { onLogChanged: again },
  );
  if (error) return <Failure error={error} again={again} />;
  if (!data) return <Loading />;
  const page = data.user?.data;
  if (!page?.totalCount) return <Empty>{username} has no data objects. They appear here when the first is created.</Empty>;
  return (
    <div className="stack">
      <p className="flat">{plural(page.totalCount, "data object")}</p>
      <Table label="Table of data objects">
        <thead>
          <tr>
            <th scope="col" className="number">
              Number
            </th>
            <th scope="col">Name</th>
            <th scope="col" className="number">
              Version
            </th>
            <th scope="col">Changed</th>
          </tr>
        </thead>
        <tbody>
          {page.edges.map(({ node }) => (
            <tr key={node.id}>
              <td className="number">{node.number}</td>
              <td className="wrap">
                <Link href={`/data/${node.number}`}>{node.name}</Link>
              </td>
              <td className="number">{node.version}</td>
              <td>
                <Moment at={node.updatedAt} />
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
      {(cursors.length > 0 || page.pageInfo.hasNextPage) && (
        <nav className="row" aria-label="Pages of the data objects">
          <button disabled={!cursors.length} onClick={() => setCursors(cursors.slice(0, -1))}>
            Previous page
          </button>
          <button
            disabled={!page.pageInfo.hasNextPage}
            onClick={() => page.pageInfo.endCursor && setCursors([...cursors, page.pageInfo.endCursor])}
          >
            Next page
          </button>
        </nav>
      )}
    </div>
  );
}
