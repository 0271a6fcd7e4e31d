import { useUserChanges } from "@rollcall/client/react";
import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";

import { Badge, Card, Dialog, Empty, Failure, Field, Loading, Moment, Notice, Page, Problems, Select, Tree } from "../components/ui";
import type { Role } from "../gql/graphql";
import { useViewer } from "../session";
import { roleName } from "../text";
import { useRead, useWrite } from "../use";
import { asObject } from "../users/attributes";
import { DataObjects, Sessions } from "../users/Belongings";
import { Erased } from "../users/Bulk";
import { CHANGE_ROLE, DELETE_USER, EMAIL_VERIFIED, USER } from "../users/documents";
import { type Editable, EditUser } from "../users/EditUser";
import { useHistory } from "../users/history";
import { RoleOptions } from "../users/NewUser";
import { Timeline } from "../users/Timeline";
import { TimeTravel } from "../users/TimeTravel";

type Someone = Editable & { role: Role };

function ChangeRole(props: { user: Someone; onClose: () => void; onChanged: () => void }) {
  const { user } = props;
  const viewer = useViewer();
  const change = useWrite(CHANGE_ROLE, "changeRole");
  const [role, setRole] = useState(user.role);
  const submit = async () => {
    if (await change.send({ input: { id: user.id, role, expectedVersion: user.version } })) {
      props.onChanged();
      props.onClose();
    }
  };
  return (
    <Dialog
      title={`Change the role of ${user.username}`}
      open
      onClose={props.onClose}
      onSubmit={() => void submit()}
      actions={
        <button className="primary" type="submit" disabled={change.running || role === user.role}>
          Change to {roleName(role)}
        </button>
      }
    >
      <Select label="New role" value={role} onChange={(event) => setRole(event.target.value as Role)}>
        <RoleOptions />
      </Select>
      <p>
        {user.username} is {roleName(user.role)} now. The change ends all sessions of this user, who has the new rights from
        the next sign-in.
      </p>
      {user.id === viewer.id && <Notice kind="warn">This is your own account: you will be signed out.</Notice>}
      <Problems problems={change.problems} />
    </Dialog>
  );
}

function DeleteUser(props: { user: Someone; onClose: () => void; onDeleted: () => void }) {
  const { user } = props;
  const viewer = useViewer();
  const remove = useWrite(DELETE_USER, "deleteUser");
  const [typed, setTyped] = useState("");
  const submit = async () => {
    if (await remove.send({ input: { id: user.id, expectedVersion: user.version } })) {
      props.onDeleted();
      props.onClose();
    }
  };
  return (
    <Dialog
      title={`Delete ${user.username}`}
      open
      onClose={props.onClose}
      onSubmit={() => void submit()}
      actions={
        <button className="danger" type="submit" disabled={remove.running || typed !== user.username}>
          {remove.running ? "Deleting…" : "Delete for good"}
        </button>
      }
    >
      <Erased />
      {user.id === viewer.id && <Notice kind="warn">This is your own account.</Notice>}
      <Field
        label={`Type ${user.username} to confirm`}
        name="confirmation"
        autoComplete="off"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
      />
      <Problems problems={remove.problems} />
    </Dialog>
  );
}

/** Whether the email is confirmed. Read apart: a server without mail does not know. */
function EmailState({ id, email }: { id: string; email: string }) {
  const { data, again } = useRead(EMAIL_VERIFIED, { id });
  const first = useRef(email);
  useEffect(() => {
    if (email !== first.current) again();
    first.current = email;
  }, [email, again]);
  const verified = data?.user?.emailVerified;
  if (verified == null) return null;
  return verified ? <Badge kind="good">confirmed</Badge> : <Badge kind="warn">not confirmed</Badge>;
}

const SHOWN_MS = 4_000;

export default function User({ id }: { id: string }) {
  const viewer = useViewer();
  const admin = viewer.role === "ADMIN";
  const { data, position, error, again, patch } = useRead(USER, { id });
  const history = useHistory(id);
  const [deleted, setDeleted] = useState(false);
  const [live, setLive] = useState<string | null>(null);
  const [work, setWork] = useState<"edit" | "role" | "delete" | null>(null);
  const [editing, setEditing] = useState<Editable | null>(null);
  const user = data?.user;

  useUserChanges(
    position === undefined ? null : { userId: id, after: position },
    (change) => {
      if (change.type === "USER_DELETED") setDeleted(true);
      else if (change.user) {
        const now = change.user;
        patch((before) => (before.user && before.user.version < now.version ? { ...before, user: now } : before));
        setLive(change.changedFields.join(", ") || "the password");
        history.read();
      }
    },
    {
      onLogChanged: () => {
        again();
        history.read();
      },
    },
  );
  useEffect(() => {
    if (live === null) return undefined;
    const timer = setTimeout(() => setLive(null), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [live]);

  if (deleted) {
    return (
      <Page title="Deleted user">
        <Notice kind="warn">
          <p>This user was deleted, and all personal data with it.</p>
          <p>
            What is left is in the <Link href={`/audit?user=${id}`}>audit log</Link>. <Link href="/users">Go to all users</Link>
          </p>
        </Notice>
      </Page>
    );
  }
  if (error && !user) {
    return (
      <Page title="User">
        <Failure error={error} again={again} />
      </Page>
    );
  }
  if (!data) {
    return (
      <Page title="User">
        <Loading />
      </Page>
    );
  }
  if (!user) {
    return (
      <Page title="There is no such user">
        <Empty>
          <p>The address may be wrong, or the user was deleted.</p>
          <p>
            <Link href={`/audit?user=${id}`}>Look into the audit log</Link> or <Link href="/users">go to all users</Link>.
          </p>
        </Empty>
      </Page>
    );
  }
  const attributes = asObject(user.attributes);
  return (
    <Page
      title={user.name}
      actions={
        admin && (
          <>
            <button
              className="primary"
              onClick={() => {
                setEditing(user);
                setWork("edit");
              }}
            >
              Edit
            </button>
            <button onClick={() => setWork("role")}>Change role</button>
            <button className="danger" onClick={() => setWork("delete")}>
              Delete
            </button>
          </>
        )
      }
    >
      <div aria-live="polite" className="toast">{live && <Notice kind="good">Changed just now: {live}.</Notice>}</div>
      <div className="columns">
        <Card title="Profile">
          <dl className="facts">
            <dt>Username</dt>
            <dd>{user.username}</dd>
            <dt>Email</dt>
            <dd>
              {user.email} <EmailState id={id} email={user.email} />
            </dd>
            <dt>Name</dt>
            <dd>{user.name}</dd>
            <dt>Role</dt>
            <dd>
              <Badge>{roleName(user.role)}</Badge>
            </dd>
            <dt>Version</dt>
            <dd>
              {user.version} <span className="quiet">(position {user.position} of the log)</span>
            </dd>
            <dt>Registered</dt>
            <dd>
              <Moment at={user.createdAt} />
            </dd>
            <dt>Changed</dt>
            <dd>
              <Moment at={user.updatedAt} />
            </dd>
            <dt>Id</dt>
            <dd>
              <code>{user.id}</code>
            </dd>
          </dl>
        </Card>
        <Card title="Attributes">
          {Object.keys(attributes).length ? (
            <Tree value={attributes} />
          ) : (
            <Empty>No attributes. {admin ? "Edit the user to add some." : "An administrator or the user adds them."}</Empty>
          )}
        </Card>
      </div>
      <Card title="Time travel">
        <TimeTravel user={user} history={history} />
      </Card>
      <Card title="Data objects">
        <DataObjects userId={id} username={user.username} />
      </Card>
      {admin && (
        <Card title="Sessions">
          <Sessions userId={id} username={user.username} />
        </Card>
      )}
      <Card title="History" actions={<Link href={`/audit?user=${id}`}>In the audit log</Link>}>
        <Timeline history={history} userId={id} />
      </Card>
      {work === "edit" && editing && (
        <EditUser user={editing} latest={user} onClose={() => setWork(null)} onSaved={again} />
      )}
      {work === "role" && <ChangeRole user={user} onClose={() => setWork(null)} onChanged={again} />}
      {work === "delete" && <DeleteUser user={user} onClose={() => setWork(null)} onDeleted={() => setDeleted(true)} />}
    </Page>
  );
}
