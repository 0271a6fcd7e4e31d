import { useUserChanges } from "@rollcall/client/react";
import { type FormEvent, useEffect, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "wouter";

import { Table } from "../components/Table";
import { Badge, Card, Check, Empty, Failure, Field, Loading, Moment, Notice, Page, Select } from "../components/ui";
import type { OrderDirection, UserOrderField } from "../gql/graphql";
import { writeExact } from "../json/exact";
import { keep, kept } from "../kept";
import { useViewer } from "../session";
import { plural, roleName } from "../text";
import { useRead } from "../use";
import { Bulk } from "../users/Bulk";
import { SEARCH_USERS, USERS } from "../users/documents";
import { type Chip, chipsOf, chipText, filterOf, KEYS, keyName, ORDERS, pathsOf } from "../users/filter";
import { Import } from "../users/Import";
import { NewUser, RoleOptions } from "../users/NewUser";
import { type Row, useOverlay } from "../users/overlay";

interface Column {
  id: string;
  title: string;
  order?: UserOrderField;
  number?: boolean;
  cell: (row: Row) => React.ReactNode;
}

const COLUMNS: readonly Column[] = [
  { id: "username", title: "Username", order: "USERNAME", cell: (row) => row.username },
  { id: "name", title: "Name", order: "NAME", cell: (row) => row.name },
  { id: "email", title: "Email", order: "EMAIL", cell: (row) => row.email },
  { id: "role", title: "Role", cell: (row) => roleName(row.role) },
  { id: "createdAt", title: "Created", order: "CREATED_AT", cell: (row) => <Moment at={row.createdAt} /> },
  { id: "updatedAt", title: "Changed", order: "UPDATED_AT", cell: (row) => <Moment at={row.updatedAt} /> },
  { id: "version", title: "Version", number: true, cell: (row) => row.version },
  { id: "attributes", title: "Attributes", cell: (row) => <code>{brief(row.attributes)}</code> },
  { id: "id", title: "Id", cell: (row) => <code>{row.id}</code> },
];
const SIZES = [20, 50, 100];
const LONGEST_CELL = 80;
/** Pages of a search that one can go back; the view goes forward only. */
const MOST_BACK = 200;

function brief(value: unknown): string {
  const text = writeExact(value ?? {});
  return text.length > LONGEST_CELL ? `${text.slice(0, LONGEST_CELL)}…` : text;
}

/** A choice that this browser keeps. */
function useKept<Value>(name: string, initial: Value, valid: (value: unknown) => value is Value): [Value, (value: Value) => void] {
  const [value, become] = useState<Value>(() => {
    try {
      const found: unknown = JSON.parse(kept(name) ?? "");
      return valid(found) ? found : initial;
    } catch {
      return initial;
    }
  });
  return [
    value,
    (next) => {
      become(next);
      keep(name, JSON.stringify(next));
    },
  ];
}

const isSize = (value: unknown): value is number => SIZES.includes(value as number);
const isColumns = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length > 0 && value.every((id) => COLUMNS.some((column) => column.id === id));

/** A form that adds one filter. Its value is what the chosen filter takes. */
function AddFilter({ onAdd }: { onAdd: (chip: Chip) => void }) {
  const [key, become] = useState<Chip["key"]>("role");
  const add = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const value = String(form.get("value") ?? "").trim();
    const path = String(form.get("path") ?? "").trim();
    if (!value && key !== "attribute") return;
    onAdd({ key, value: key === "attribute" ? `${path}=${value}` : value });
    if (key !== "role") event.currentTarget.reset();
  };
  return (
    <details>
      <summary>Add a filter</summary>
      <form className="columns tools" onSubmit={add}>
        <Select label="Filter" value={key} onChange={(event) => become(event.target.value as Chip["key"])}>
          {KEYS.map((one) => (
            <option key={one} value={one}>
              {keyName(one)}
            </option>
          ))}
        </Select>
        {key === "attribute" && (
          <Field label="Path" name="path" placeholder="address.city" required hint="Names joined by dots." autoComplete="off" />
        )}
        {key === "role" ? (
          <Select label="Value" name="value">
            <RoleOptions />
          </Select>
        ) : (
          <Field
            key={key}
            label="Value"
            name="value"
            type={key === "since" || key === "until" ? "date" : "text"}
            required
            autoComplete="off"
            hint={key === "attribute" ? '42 and true are JSON, "42" is a text.' : undefined}
          />
        )}
        <div className="end">
          <button type="submit">Add the filter</button>
        </div>
      </form>
    </details>
  );
}

function Columns(props: { chosen: readonly string[]; size: number; onColumns: (ids: string[]) => void; onSize: (size: number) => void }) {
  return (
    <details>
      <summary>Columns and page size</summary>
      <div className="stack tools">
        <fieldset className="row">
          <legend>Columns</legend>
          {COLUMNS.map(({ id, title }) => (
            <Check
              key={id}
              label={title}
              checked={props.chosen.includes(id)}
              disabled={id === "username"}
              onChange={(event) =>
                props.onColumns(
                  COLUMNS.map((column) => column.id).filter((one) => (one === id ? event.target.checked : props.chosen.includes(one))),
                )
              }
            />
          ))}
        </fieldset>
        <Select label="Users on a page" value={props.size} onChange={(event) => props.onSize(Number(event.target.value))}>
          {SIZES.map((size) => (
            <option key={size} value={size}>
              {size} a page
            </option>
          ))}
        </Select>
      </div>
    </details>
  );
}

type Work = "create" | "invite" | "import" | "role" | "delete" | null;

export default function Users() {
  const viewer = useViewer();
  const admin = viewer.role === "ADMIN";
  const [params, setParams] = useSearchParams();
  const [keptSize, keepSize] = useKept("rollcall-users-size", 20, isSize);
  const [columns, setColumns] = useKept<string[]>(
    "rollcall-users-columns",
    ["username", "name", "email", "role", "createdAt", "updatedAt"],
    isColumns,
  );
  const [work, setWork] = useState<Work>(null);
  const [selected, setSelected] = useState<ReadonlyMap<string, Row>>(new Map());
  const [made, setMade] = useState<{ id: string; username: string; invited: boolean } | null>(null);

  // What is asked for, as the URL says it.
  const sizeInUrl = Number(params.get("size"));
  const size = isSize(sizeInUrl) ? sizeInUrl : keptSize;
  const text = params.get("q") ?? "";
  const chips = chipsOf(params);
  const paths = pathsOf(chips);
  const searching = text !== "" || paths.length > 0;
  const wantedOrder = params.get("order") as UserOrderField;
  const field = ORDERS.includes(wantedOrder) ? wantedOrder : "CREATED_AT";
  const direction: OrderDirection = params.get("direction") === "ASC" || (field !== wantedOrder && params.has("direction")) ? "ASC" : "DESC";
  const after = params.get("after") ?? undefined;
  const before = searching ? undefined : (params.get("before") ?? undefined);
  const atEnd = !searching && params.has("end");
  const backward = before !== undefined || atEnd;

  const filter = filterOf(chips);
  const attributes = columns.includes("attributes");
  const list = useRead(
    USERS,
    {
      ...(filter ? { filter } : {}),
      orderBy: { field, direction },
      ...(backward ? { last: size, ...(before ? { before } : {}) } : { first: size, ...(after ? { after } : {}) }),
      attributes,
    },
    { skip: searching },
  );
  const search = useRead(
    SEARCH_USERS,
    { ...(text ? { text } : {}), where: paths, ...(filter ? { filter } : {}), first: size, ...(after ? { after } : {}), attributes },
    { skip: !searching },
  );
  const read = searching ? search : list;
  const page = searching ? search.data?.searchUsers : list.data?.users;
  const rows = useMemo(() => page?.edges.map(({ node }) => node as Row) ?? [], [page]);
  const overlay = useOverlay(rows);
  const { clearFresh } = overlay;
  const firstPage = after === undefined && !backward;
  const shown = rows.map(overlay.now);

  const back = useRef<(string | null)[]>([]);
  const question = JSON.stringify([text, chips, field, direction, size]);
  useEffect(() => {
    back.current = [];
  }, [question]);
  useEffect(() => {
    if (firstPage) clearFresh();
  }, [firstPage, question, clearFresh]);

  /** Another question begins at its first page. */
  const ask = (change: (next: URLSearchParams) => void) =>
    setParams((now) => {
      const next = new URLSearchParams(now);
      for (const place of ["after", "before", "end"]) next.delete(place);
      change(next);
      return next;
    });
  const turn = (place: "after" | "before" | "end", cursor: string | null | undefined) =>
    ask((next) => cursor != null && next.set(place, cursor));
  const again = () => {
    clearFresh();
    read.again();
  };
  useUserChanges(
    read.position === undefined ? null : { after: read.position },
    (change) => {
      overlay.take(change);
      if (change.type === "USER_DELETED") setSelected((now) => (now.has(change.userId) ? without(now, [change.userId]) : now));
    },
    { onLogChanged: read.again },
  );
  const showNew = () => {
    if (searching || (field === "CREATED_AT" && direction === "DESC" && firstPage)) again();
    else {
      clearFresh();
      ask((next) => {
        next.delete("order");
        next.delete("direction");
      });
    }
  };
  const sortBy = (order: UserOrderField) =>
    ask((next) => {
      next.set("order", order);
      next.set("direction", field === order && direction === "ASC" ? "DESC" : "ASC");
    });
  const forward = () => {
    if (searching) back.current = [...back.current, after ?? null].slice(-MOST_BACK);
    turn("after", page?.pageInfo.endCursor);
  };
  const backwards = () => {
    if (searching) turn("after", back.current.pop());
    else turn("before", page?.pageInfo.startCursor);
  };

  const select = (row: Row, on: boolean) =>
    setSelected((now) => {
      const next = new Map(now);
      if (on) next.set(row.id, row);
      else next.delete(row.id);
      return next;
    });
  const selectable = shown.filter(({ mark }) => mark !== "deleted");
  const allSelected = selectable.length > 0 && selectable.every(({ row }) => selected.has(row.id));
  const visible = COLUMNS.filter(({ id }) => columns.includes(id));
  const changedNames = shown.filter(({ mark }) => mark).map(({ row, mark }) => `${row.username} was ${mark}`);
  const marked = (order: UserOrderField | undefined) =>
    !order || searching || order !== field ? undefined : direction === "ASC" ? "ascending" : "descending";

  return (
    <Page
      title="Users"
      actions={
        admin && (
          <>
            <button onClick={() => setWork("import")}>Import users</button>
            <button onClick={() => setWork("invite")}>Invite a user</button>
            <button className="primary" onClick={() => setWork("create")}>
              Create a user
            </button>
          </>
        )
      }
    >
      {made && (
        <Notice kind="good">
          {made.invited ? "Invited" : "Created"}: <Link href={`/users/${made.id}`}>{made.username}</Link>.{" "}
          {made.invited && "The mail with the link is on its way."}
        </Notice>
      )}
      <Card>
        <div className="stack">
          <form
            className="row"
            role="search"
            onSubmit={(event) => {
              event.preventDefault();
              const words = String(new FormData(event.currentTarget).get("q") ?? "").trim();
              ask((next) => (words ? next.set("q", words) : next.delete("q")));
            }}
          >
            <div className="grow">
              <label htmlFor="search-users" className="sr-only">
                Search users
              </label>
              <input
                id="search-users"
                key={text}
                name="q"
                type="search"
                defaultValue={text}
                placeholder="Words of a username, name, email or attribute"
              />
            </div>
            <button type="submit">Search</button>
          </form>
          {(chips.length > 0 || text) && (
            <ul className="chips" aria-label="Filters in force">
              {text && (
                <li>
                  <button aria-label={`Remove the words “${text}”`} onClick={() => ask((next) => next.delete("q"))}>
                    Words “{text}” <span aria-hidden="true">×</span>
                  </button>
                </li>
              )}
              {chips.map((chip) => (
                <li key={`${chip.key}=${chip.value}`}>
                  <button aria-label={`Remove the filter ${chipText(chip)}`} onClick={() => ask((next) => next.delete(chip.key, chip.value))}>
                    {chipText(chip)} <span aria-hidden="true">×</span>
                  </button>
                </li>
              ))}
            </ul>
          )}
          <div className="row tops">
            <AddFilter onAdd={(chip) => ask((next) => !next.has(chip.key, chip.value) && next.append(chip.key, chip.value))} />
            <Columns chosen={columns} size={size} onColumns={setColumns} onSize={(one) => { keepSize(one); ask((next) => next.set("size", String(one))); }} />
          </div>
        </div>
      </Card>

      <div className="row between">
        <p className="flat" role="status">
          {page ? plural(page.totalCount, "user") : ""}
          {searching && page ? ", best matches first" : ""}
        </p>
        {overlay.fresh > 0 && (
          <button className="pill" onClick={showNew}>
            {plural(overlay.fresh, "new user")}: show
          </button>
        )}
        {admin && selected.size > 0 && (
          <div className="row" role="group" aria-label="Selected users">
            <span>{selected.size.toLocaleString()} selected</span>
            <button onClick={() => setWork("role")}>Change role</button>
            <button className="danger" onClick={() => setWork("delete")}>
              Delete
            </button>
            <button className="plain" onClick={() => setSelected(new Map())}>
              Clear the selection
            </button>
          </div>
        )}
      </div>

      {read.error && <Failure error={read.error} again={read.again} />}
      {!page && !read.error && <Loading />}
      {page && !rows.length && (
        <Empty>
          {chips.length || text ? (
            <>
              <p>No user matches. Remove a filter, or use fewer words.</p>
              <button onClick={() => setParams(new URLSearchParams())}>Remove all filters</button>
            </>
          ) : firstPage ? (
            <p>There are no users yet. {admin ? "Create one, invite one, or import a file." : "An administrator creates them."}</p>
          ) : (
            <>
              <p>This page is empty: its users were deleted.</p>
              <button onClick={() => ask(() => undefined)}>Go to the first page</button>
            </>
          )}
        </Empty>
      )}
      {rows.length > 0 && (
        <Table label="Users" kind="rows" busy={read.loading}>
          <thead>
            <tr>
              {admin && (
                <th scope="col">
                  <input
                    type="checkbox"
                    aria-label="Select all users on this page"
                    checked={allSelected}
                    onChange={(event) => {
                      const on = event.target.checked;
                      setSelected((now) => {
                        const next = new Map(now);
                        for (const { row } of selectable) {
                          if (on) next.set(row.id, row);
                          else next.delete(row.id);
                        }
                        return next;
                      });
                    }}
                  />
                </th>
              )}
              {visible.map((column) => (
                <th key={column.id} scope="col" aria-sort={marked(column.order)} className={column.number ? "number" : undefined}>
                  {column.order && !searching ? (
                    <button onClick={() => column.order && sortBy(column.order)}>
                      {column.title}
                      <span aria-hidden="true">{marked(column.order) === "ascending" ? "▲" : marked(column.order) ? "▼" : "↕"}</span>
                    </button>
                  ) : (
                    column.title
                  )}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map(({ row, mark }) => (
              <tr key={row.id} className={mark === "deleted" ? "gone" : mark ? `changed turn-${row.version % 2}` : undefined}>
                {admin && (
                  <td>
                    <input
                      type="checkbox"
                      aria-label={`Select ${row.username}`}
                      checked={selected.has(row.id)}
                      disabled={mark === "deleted"}
                      onChange={(event) => select(row, event.target.checked)}
                    />
                  </td>
                )}
                {visible.map((column) => (
                  <td key={column.id} className={column.number ? "number" : undefined}>
                    {column.id === "username" ? (
                      <>
                        {mark === "deleted" ? row.username : <Link href={`/users/${row.id}`}>{row.username}</Link>}{" "}
                        {mark && <Badge kind={mark === "deleted" ? "bad" : "warn"}>{mark}</Badge>}
                      </>
                    ) : (
                      column.cell(row)
                    )}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <div className="sr-only" role="status">
        {changedNames.slice(0, 3).join(", ")}
      </div>
      {page && (
        <nav className="row" aria-label="Pages">
          <button disabled={firstPage} onClick={() => ask(() => undefined)}>
            First page
          </button>
          <button disabled={searching ? !back.current.length : !page.pageInfo.hasPreviousPage} onClick={backwards}>
            Previous page
          </button>
          <button disabled={!page.pageInfo.hasNextPage} onClick={forward}>
            Next page
          </button>
          {!searching && (
            <button disabled={!page.pageInfo.hasNextPage} onClick={() => turn("end", "1")}>
              Last page
            </button>
          )}
        </nav>
      )}

      {admin && (
        <NewUser
          key={work === "invite" ? "invite" : "create"}
          invited={work === "invite"}
          open={work === "create" || work === "invite"}
          onClose={() => setWork(null)}
          onMade={(user) => {
            setMade({ ...user, invited: work === "invite" });
            again();
          }}
        />
      )}
      {work === "import" && <Import onClose={() => setWork(null)} onImported={again} />}
      {(work === "role" || work === "delete") && (
        <Bulk
          kind={work}
          rows={[...selected.values()]}
          onClose={() => setWork(null)}
          onDone={(ids) => setSelected((now) => without(now, ids))}
        />
      )}
    </Page>
  );
}

function without(rows: ReadonlyMap<string, Row>, ids: readonly string[]): ReadonlyMap<string, Row> {
  const left = new Map(rows);
  for (const id of ids) left.delete(id);
  return left;
}
