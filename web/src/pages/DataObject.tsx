import { useDataChanges } from "@rollcall/client/react";
import { useCallback, useState } from "react";
import { Link, useLocation } from "wouter";

import { History, type HistoryPage, useHistory } from "../components/History";
import { isStaff } from "../components/Shell";
import { Card, Dialog, Failure, Field, Loading, Moment, Notice, Page, type Problem, Problems, problemsOf } from "../components/ui";
import { DELETE_DATA, FIND_OWNER, ONE, ONE_HISTORY, TRANSFER_DATA, UPDATE_DATA } from "../data/documents";
import type { DataObjectPageQuery } from "../gql/graphql";
import { JsonCard } from "../json/JsonCard";
import { useEditing, type Versioned } from "../json/useEditing";
import type { Fields } from "../json/values";
import { client, useViewer } from "../session";
import { problemOf, type Read, useRead, useWrite, write } from "../use";

type One = NonNullable<DataObjectPageQuery["data"]>;

const versioned = (data: One): Versioned => ({ version: data.version, fields: { name: data.name, content: data.content } });

function Deletion({ data, onStale }: { data: One; onStale: () => void }) {
  const [open, setOpen] = useState(false);
  const remove = useWrite(DELETE_DATA, "deleteData");
  const [, go] = useLocation();
  const submit = async () => {
    if (await remove.send({ input: { id: data.id, expectedVersion: data.version } })) go("/data");
    else onStale();
  };
  const close = () => {
    remove.clear();
    setOpen(false);
  };
  return (
    <>
      <button className="danger" onClick={() => setOpen(true)}>
        Delete…
      </button>
      <Dialog
        title={`Delete ${data.name}?`}
        open={open}
        onClose={close}
        onSubmit={() => void submit()}
        actions={
          <button className="danger" type="submit" disabled={remove.running}>
            {remove.running ? "Deleting…" : "Delete"}
          </button>
        }
      >
        <p>Its name and content are erased, as they are and as they were before. This cannot be undone.</p>
        <Problems problems={remove.problems} />
      </Dialog>
    </>
  );
}

function Transfer({ data, onDone }: { data: One; onDone: (data: One) => void }) {
  const [open, setOpen] = useState(false);
  const [problems, setProblems] = useState<readonly Problem[]>([]);
  const [running, run] = useState(false);
  const close = () => {
    setProblems([]);
    setOpen(false);
  };
  const submit = async (form: FormData) => {
    if (running) return;
    run(true);
    try {
      const login = String(form.get("owner")).trim();
      const filter = { or: [{ username: { eq: login } }, { email: { eq: login } }] };
      const owner = (await client.query(FIND_OWNER, { filter })).data.users.edges[0]?.node;
      if (!owner) {
        setProblems([{ code: "NOT_FOUND", message: "No user has this username or email.", field: ["ownerId"] }]);
        return;
      }
      const input = { id: data.id, ownerId: owner.id, expectedVersion: data.version };
      const { payload, problems: refused } = await write(TRANSFER_DATA, "transferData", { input });
      setProblems(refused);
      if (refused.length || !payload?.data) return;
      onDone(payload.data);
      close();
    } catch (error) {
      setProblems([{ ...problemOf(error), field: ["ownerId"] }]);
    } finally {
      run(false);
    }
  };
  return (
    <>
      <button onClick={() => setOpen(true)}>Transfer…</button>
      <Dialog
        title={`Transfer ${data.name}`}
        open={open}
        onClose={close}
        onSubmit={(form) => void submit(form)}
        actions={
          <button className="primary" type="submit" disabled={running}>
            {running ? "Transferring…" : "Transfer"}
          </button>
        }
      >
        <p>The new owner's key seals the data object from now on, and {data.owner.username} does not see it any more.</p>
        <Field
          label="Username or email of the new owner"
          name="owner"
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          required
          autoFocus
          problems={problemsOf(problems, "ownerId")}
        />
        <Problems problems={problemsOf(problems, undefined, ["ownerId"])} />
      </Dialog>
    </>
  );
}

function Shown({ data, read }: { data: One; read: Read<DataObjectPageQuery> }) {
  const viewer = useViewer();
  const staff = isStaff(viewer.role);
  const mayWrite = viewer.role === "ADMIN" || data.owner.id === viewer.id;
  const [deleted, setDeleted] = useState(false);
  const { id } = data;
  const readHistory = useCallback(
    async (after: string | null): Promise<HistoryPage> => {
      const history = (await client.query(ONE_HISTORY, { id, after })).data.data?.history;
      return {
        events: history?.edges.map(({ node }) => node) ?? [],
        hasNextPage: history?.pageInfo.hasNextPage ?? false,
        endCursor: history?.pageInfo.endCursor ?? null,
      };
    },
    [id],
  );
  const history = useHistory(readHistory);
  useDataChanges(
    { ...(!staff && { ownerId: viewer.id }), after: read.position ?? null },
    (change) => {
      if (change.dataId !== id) return;
      if (change.type === "DATA_DELETED") {
        setDeleted(true);
        return;
      }
      if (change.ownerId !== data.owner.id) read.again();
      else if (change.data) {
        const now = change.data;
        read.patch((before) =>
          before.data && before.data.version < now.version ? { ...before, data: { ...before.data, ...now } } : before,
        );
      }
      if (!history.hasMore) history.more();
    },
    { onLogChanged: read.again },
  );
  const take = (now: One) => read.patch((before) => ({ ...before, data: now }));
  const editing = useEditing(
    async (patch: Fields, expectedVersion) => {
      const { payload, problems } = await write(UPDATE_DATA, "updateData", { input: { id, ...patch, expectedVersion } });
      if (payload?.data) take(payload.data);
      return { problems };
    },
    async () => {
      const { data: now } = (await client.query(ONE, { number: data.number })).data;
      return now ? versioned(now) : null;
    },
  );
  if (deleted) {
    return (
      <Page title={data.name}>
        <Notice kind="warn">
          <p>
            This data object has been deleted. <Link href="/data">Go to the list</Link>
          </p>
        </Notice>
      </Page>
    );
  }
  return (
    <Page
      title={data.name}
      actions={
        mayWrite && (
          <>
            {viewer.role === "ADMIN" && <Transfer data={data} onDone={take} />}
            <Deletion data={data} onStale={read.again} />
          </>
        )
      }
    >
      {read.error && <Failure error={read.error} again={read.again} />}
      <dl className="facts">
        <dt>Number</dt>
        <dd>{data.number}</dd>
        <dt>Owner</dt>
        <dd>
          {staff ? <Link href={`/users/${data.owner.id}`}>{data.owner.username}</Link> : data.owner.username}
          {data.owner.id === viewer.id && " (you)"}
        </dd>
        <dt>Version</dt>
        <dd>
          {data.version}, of <Moment at={data.updatedAt} />
        </dd>
        <dt>Created</dt>
        <dd>
          <Moment at={data.createdAt} />
        </dd>
      </dl>
      <div className="columns tops">
        <JsonCard
          title="Content"
          empty={mayWrite ? "The content is empty. Edit it as JSON." : "The content is empty. Its owner can fill it."}
          current={versioned(data)}
          field="content"
          named
          editable={mayWrite}
          editing={editing}
        />
        <Card title="History">
          <History history={history} viewerId={viewer.id} />
        </Card>
      </div>
      <p>
        <Link href="/data">All data objects</Link>
      </p>
    </Page>
  );
}

export default function DataObject({ number }: { number: number }) {
  const valid = Number.isInteger(number) && number > 0 && number < 2 ** 31;
  const read = useRead(ONE, { number: valid ? number : 0 }, { skip: !valid });
  const data = read.data?.data;
  if (data && data.number === number) return <Shown key={data.id} data={data} read={read} />;
  return (
    <Page title={valid ? `Data object ${number}` : "Data object"}>
      {read.error ? (
        <Failure error={read.error} again={read.again} />
      ) : read.loading ? (
        <Loading />
      ) : (
        <Notice kind="warn">
          <p>
            There is no such data object, or it is not yours to read. <Link href="/data">Go to the list</Link>
          </p>
        </Notice>
      )}
    </Page>
  );
}
