/** One change of many users: whom it concerns, how far it is, and the result for each. */
import { useEffect, useRef, useState } from "react";

import { Table } from "../components/Table";
import { Badge, Check, Dialog, Notice, ProgressBar, Select } from "../components/ui";
import type { Role } from "../gql/graphql";
import { useViewer } from "../session";
import { csv, download, plural, roleName } from "../text";
import { write } from "../use";
import { CHANGE_ROLE, DELETE_USER } from "./documents";
import { RoleOptions } from "./NewUser";
import type { Row } from "./overlay";

const RETRIES = 5;
const PAUSE_MS = 2_000;
const PASSING = ["NETWORK", "UNAVAILABLE", "RATE_LIMITED"];

interface Result {
  row: Row;
  refused: string | null;
}

/** The reason of a refusal; null if it is done. What passes by itself is tried again. */
async function attempt(row: Row, role: Role | null, stopped: () => boolean): Promise<string | null> {
  for (let tries = 0; ; tries += 1) {
    const { problems } = role
      ? await write(CHANGE_ROLE, "changeRole", { input: { id: row.id, role } })
      : await write(DELETE_USER, "deleteUser", { input: { id: row.id } });
    const [problem] = problems;
    if (!problem) return null;
    if (!PASSING.includes(problem.code) || tries === RETRIES || stopped()) return problems.map((one) => one.message).join(" ");
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

export const Erased = () => (
  <>
    <p>
      Deletion erases username, email, name, attributes, password and data objects: in the log, in both views, and in the
      history of every version. All sessions end. It cannot be undone.
    </p>
    <p>What remains: that an account existed, when it changed, and who changed it, without any personal value.</p>
  </>
);

export function Bulk(props: {
  kind: "role" | "delete";
  rows: readonly Row[];
  onClose: () => void;
  /** These are done; the others keep their place in the selection. */
  onDone: (ids: string[]) => void;
}) {
  const viewer = useViewer();
  const [concerned, setConcerned] = useState(props.rows);
  const [role, setRole] = useState<Role>("CUSTOMER");
  const [results, setResults] = useState<Result[]>([]);
  const [phase, setPhase] = useState<"preview" | "running" | "report">("preview");
  const stop = useRef(false);
  useEffect(() => () => void (stop.current = true), []); // another user may be signed in then
  const deleting = props.kind === "delete";
  const refused = results.filter((result) => result.refused !== null);

  const run = async () => {
    stop.current = false;
    setPhase("running");
    const found: Result[] = [];
    for (const row of concerned) {
      if (stop.current) break;
      found.push({ row, refused: await attempt(row, deleting ? null : role, () => stop.current) });
      setResults([...found]);
    }
    setPhase("report");
    props.onDone(found.flatMap((result) => (result.refused === null ? [result.row.id] : [])));
  };
  const close = () => {
    stop.current = true;
    props.onClose();
  };
  const untouched = concerned.length - results.length;
  const title = deleting ? `Delete ${plural(concerned.length, "user")}` : `Change the role of ${plural(concerned.length, "user")}`;

  return (
    <Dialog
      title={title}
      open
      onClose={close}
      cancel={phase === "report" ? "Close" : phase === "running" ? "Stop and close" : "Cancel"}
      onSubmit={() => void run()}
      actions={
        phase === "preview" ? (
          <button className={deleting ? "danger" : "primary"} type="submit" disabled={!concerned.length}>
            {title}
          </button>
        ) : phase === "running" ? (
          <button type="button" onClick={() => (stop.current = true)}>
            Stop
          </button>
        ) : (
          <>
            <button
              type="button"
              onClick={() =>
                download(
                  "users-report.csv",
                  "text/csv",
                  csv(
                    ["username", "id", "result"],
                    results.map((one) => [one.row.username, one.row.id, one.refused ?? "done"]),
                  ),
                )
              }
            >
              Download as CSV
            </button>
            {refused.length > 0 && (
              <button
                type="button"
                onClick={() => {
                  setConcerned(refused.map((result) => result.row));
                  setResults([]);
                  setPhase("preview");
                }}
              >
                Try the refused again
              </button>
            )}
          </>
        )
      }
    >
      {phase === "preview" && (
        <>
          {deleting ? (
            <Erased />
          ) : (
            <Select label="New role" value={role} onChange={(event) => setRole(event.target.value as Role)}>
              <RoleOptions />
            </Select>
          )}
          {!deleting && <p>Each of these users is signed out everywhere, and has the new rights from the next sign-in.</p>}
          {concerned.some(({ id }) => id === viewer.id) && <Notice kind="warn">You are among these users.</Notice>}
          <Table label="Users concerned" kind="short">
            <thead>
              <tr>
                <th scope="col">User</th>
                <th scope="col">Role now</th>
                <th scope="col">
                  <span className="sr-only">Leave out</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {concerned.map((row) => (
                <tr key={row.id}>
                  <td className="wrap">
                    {row.username} <span className="quiet">{row.name}</span> {row.id === viewer.id && <Badge kind="warn">you</Badge>}
                  </td>
                  <td>{roleName(row.role)}</td>
                  <td>
                    <button
                      type="button"
                      className="plain small"
                      aria-label={`Leave ${row.username} out`}
                      onClick={() => setConcerned(concerned.filter(({ id }) => id !== row.id))}
                    >
                      Leave out
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </Table>
          {deleting && <Check label="I understand that this cannot be undone" name="understood" required />}
        </>
      )}
      {phase !== "preview" && (
        <>
          <ProgressBar done={results.length} total={concerned.length} what="user" />
          {phase === "report" && (
            <Notice kind={refused.length || untouched ? "warn" : "good"}>
              {plural(results.length - refused.length, "user")} {deleting ? "deleted" : "changed"}, {refused.length} refused
              {untouched > 0 && `, ${untouched} left as they were because you stopped`}.
            </Notice>
          )}
          <Table label="Results" kind="short">
            <thead>
              <tr>
                <th scope="col">User</th>
                <th scope="col">Result</th>
              </tr>
            </thead>
            <tbody>
              {[...refused, ...results.filter((result) => result.refused === null)].map((result) => (
                <tr key={result.row.id}>
                  <td className="wrap">{result.row.username}</td>
                  <td className="wrap">
                    {result.refused === null ? (
                      <Badge kind="good">{deleting ? "deleted" : `now ${roleName(role)}`}</Badge>
                    ) : (
                      <>
                        <Badge kind="bad">refused</Badge> {result.refused}
                      </>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </Table>
        </>
      )}
    </Dialog>
  );
}
