/** The user as of each of its versions, beside what it is now. */
import { useEffect, useId, useState } from "react";

import { Table } from "../components/Table";
import { Empty, Failure, Loading, Moment, Notice } from "../components/ui";
import type { Role } from "../gql/graphql";
import { roleName, sentence } from "../text";
import { useRead } from "../use";
import { isText, writeExact } from "../json/exact";
import { equal } from "../json/values";
import { asObject, differences } from "./attributes";
import { USER_THEN } from "./documents";
import type { Editable } from "./EditUser";
import type { History } from "./history";

/** While the slider moves, only where it rests is asked for. */
const REST_MS = 150;

const text = (value: unknown): string =>
  value === undefined ? "(none)" : isText(value) ? value : writeExact(value);

export function TimeTravel(props: { user: Editable & { role: Role }; history: History }) {
  const { user, history } = props;
  const id = useId();
  const last = history.events.length - 1;
  const [place, setPlace] = useState<number | null>(null); // null: at the newest, and it stays there
  const at = Math.min(place ?? last, last);
  const event = history.events[at];
  const [resting, setResting] = useState<string | null>(null);
  const wanted = event?.position ?? null;
  useEffect(() => {
    const timer = setTimeout(() => setResting(wanted), REST_MS);
    return () => clearTimeout(timer);
  }, [wanted]);
  const then = useRead(USER_THEN, { id: user.id, at: resting ?? "0" }, { skip: resting === null });

  if (history.loading) return <Loading />;
  if (!event) return <Empty>There are no versions to look at.</Empty>;
  const past = then.data?.user;
  const rows = past
    ? [
        { path: "username", before: past.username, after: user.username },
        { path: "email", before: past.email, after: user.email },
        { path: "name", before: past.name, after: user.name },
        { path: "role", before: roleName(past.role), after: roleName(user.role) },
        ...(equal(past.attributes, user.attributes)
          ? [{ path: "attributes", before: past.attributes, after: user.attributes }]
          : differences(asObject(past.attributes), asObject(user.attributes), "attributes")),
      ]
    : [];
  const differing = rows.filter(({ before, after }) => !equal(before, after)).length;
  return (
    <div className="stack">
      <div className="field">
        <label htmlFor={id}>Version</label>
        <div className="row slider">
          <button aria-label="One version back" disabled={at === 0} onClick={() => setPlace(at - 1)}>
            ◀
          </button>
          <input
            id={id}
            type="range"
            min={0}
            max={last}
            step={1}
            value={at}
            aria-valuetext={`Version ${event.version} of ${history.events[last]?.version}, ${new Date(event.recordedAt).toLocaleString()}`}
            onChange={(change) => setPlace(Number(change.target.value) === last ? null : Number(change.target.value))}
          />
          <button aria-label="One version on" disabled={at === last} onClick={() => setPlace(at + 1 === last ? null : at + 1)}>
            ▶
          </button>
        </div>
        <p className="flat">
          Version {event.version} of {history.events[last]?.version}: {sentence(event.type).toLowerCase()}, <Moment at={event.recordedAt} />,
          position {event.position}
        </p>
      </div>
      {then.error && <Failure error={then.error} again={then.again} />}
      {!then.data && !then.error && <Loading />}
      {then.data && !past && <Notice kind="warn">The user cannot be read as of then.</Notice>}
      {past && (
        <>
          <p className="flat" role="status">
            {differing ? `${differing === 1 ? "1 value differs" : `${differing} values differ`} from now.` : "Nothing differs from now."}
          </p>
          <Table label="The user then and now" busy={then.loading}>
            <thead>
              <tr>
                <th scope="col">Field</th>
                <th scope="col">Then</th>
                <th scope="col">Now</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(({ path, before, after }) => (
                <tr key={path}>
                  <th scope="row">{path}</th>
                  <td className="wrap">{equal(before, after) ? text(before) : <mark>{text(before)}</mark>}</td>
                  <td className="wrap">{text(after)}</td>
                </tr>
              ))}
            </tbody>
          </Table>
        </>
      )}
    </div>
  );
}
