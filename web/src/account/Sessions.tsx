import { useEffect, useState } from "react";

import { Badge, Card, Empty, Failure, Loading, Moment, type Problem, Problems } from "../components/ui";
import { END_SESSION, SESSIONS } from "../documents";
import { signOut } from "../session";
import { useRead, write } from "../use";

/** `turn` changes when sessions may have ended elsewhere on the page. */
export function Sessions({ turn }: { turn: number }) {
  const read = useRead(SESSIONS, {});
  const [ending, setEnding] = useState<string | null>(null);
  const [problems, setProblems] = useState<readonly Problem[]>([]);
  const { again } = read;
  useEffect(() => {
    if (turn > 0) again();
  }, [turn, again]);
  const sessions = read.data?.sessions;
  const others = sessions?.filter(({ current }) => !current) ?? [];

  const end = async (ids: readonly string[], what: string) => {
    setEnding(what);
    try {
      for (const id of ids) {
        const { problems: found } = await write(END_SESSION, "endSession", { id });
        setProblems(found);
        if (found.length) break;
      }
    } finally {
      setEnding(null);
      again();
    }
  };
  const leave = () => signOut().catch((error: Error) => setProblems([{ code: "NETWORK", message: error.message }]));
  return (
    <Card
      title="Sessions"
      actions={
        others.length > 1 && (
          <button disabled={ending !== null} onClick={() => void end(others.map(({ id }) => id), "others")}>
            End all others
          </button>
        )
      }
    >
      <p className="quiet">Where you are signed in. End what you do not recognise, and change your password.</p>
      {read.error && <Failure error={read.error} again={again} />}
      {!sessions && read.loading && <Loading />}
      {sessions?.length === 0 && <Empty>There is no session. Sign in again to see this one.</Empty>}
      <Problems problems={problems} />
      <ul className="plain-list">
        {sessions?.map((session) => {
          const device = session.device ?? "Unknown device";
          return (
            <li key={session.id} className="session">
              <div className="wrap">
                <strong>{device}</strong> {session.current && <Badge kind="good">This session</Badge>}
                <div className="quiet">
                  {session.address && <>Address {session.address}. </>}
                  Last seen <Moment at={session.lastSeenAt} />, signed in <Moment at={session.startedAt} />, ends by{" "}
                  <Moment at={session.expiresAt} />.
                </div>
              </div>
              {session.current ? (
                <button aria-label={`End this session: ${device}`} onClick={() => void leave()}>
                  End
                </button>
              ) : (
                <button
                  aria-label={`End the session: ${device}`}
                  disabled={ending !== null}
                  onClick={() => void end([session.id], session.id)}
                >
                  {ending === session.id ? "Ending…" : "End"}
                </button>
              )}
            </li>
          );
        })}
      </ul>
    </Card>
  );
}
