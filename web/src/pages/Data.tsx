import { useSearchParams } from "wouter";

import { Empty, Failure, Field, Loading, Page, Select } from "../components/ui";
import { isStaff } from "../components/Shell";
import { listVariables, searchOf, searchVariables, type Shown, shownOf } from "../data/address";
import { CreateData } from "../data/CreateData";
import { DataTable } from "../data/DataTable";
import { LIST, SEARCH } from "../data/documents";
import { useLiveRows } from "../data/useLiveRows";
import type { DataOrderField } from "../gql/graphql";
import { useViewer } from "../session";
import { plural } from "../text";
import { useRead } from "../use";

const NONE: never[] = [];

export default function Data() {
  const viewer = useViewer();
  const staff = isStaff(viewer.role);
  const [search, setSearch] = useSearchParams();
  const shown = shownOf(search);
  /** Another filter or order begins at the first page. */
  const show = (changes: Partial<Shown>) => setSearch(searchOf({ ...shown, after: "", before: "", ...changes }));

  const searching = shown.text.trim() !== "";
  const list = useRead(LIST, listVariables(shown), { skip: searching });
  const found = useRead(SEARCH, searchVariables(shown), { skip: !searching });
  const read = searching ? found : list;
  const connection = searching ? found.data?.searchData : list.data?.dataObjects;
  const live = useLiveRows(connection?.edges.map(({ node }) => node) ?? NONE, {
    ownerId: staff ? shown.owner || undefined : viewer.id,
    key: search.toString(),
    read,
  });
  const info = connection?.pageInfo;
  const filtered = searching || shown.name !== "" || shown.owner !== "";
  const onOrder = (field: DataOrderField) =>
    show({ field, direction: field === shown.field && shown.direction === "ASC" ? "DESC" : "ASC" });

  const chips: readonly { text: string; without: Partial<Shown> }[] = [
    ...(searching ? [{ text: `Words: ${shown.text}`, without: { text: "" } }] : []),
    ...(!searching && shown.name ? [{ text: `Name contains: ${shown.name}`, without: { name: "" } }] : []),
    ...(!searching && shown.owner
      ? [{ text: shown.owner === viewer.id ? "Only my own" : `Owner: ${shown.owner}`, without: { owner: "" } }]
      : []),
  ];
  return (
    <Page title="Data" actions={<CreateData />}>
      <form
        key={`${shown.text} ${shown.name} ${shown.owner}`}
        className="card columns"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          const text = (name: string) => String(form.get(name) ?? "").trim();
          show({ text: text("text"), name: text("name"), owner: text("owner") });
        }}
      >
        <Field
          label="Words"
          name="text"
          type="search"
          defaultValue={shown.text}
          maxLength={1000}
          hint="Whole words of the name and the content; best matches first."
        />
        <Field
          label="Name contains"
          name="name"
          type="search"
          autoComplete="off"
          defaultValue={shown.name}
          hint="Any part of the name. Not together with words."
        />
        {staff && (
          <Select label="Whose" name="owner" defaultValue={shown.owner} hint="Not together with words.">
            <option value="">Everybody's</option>
            <option value={viewer.id}>Only my own</option>
            {shown.owner && shown.owner !== viewer.id && <option value={shown.owner}>Owner {shown.owner}</option>}
          </Select>
        )}
        <div className="row">
          <button type="submit" className="primary">
            Search
          </button>
          <button type="button" disabled={!filtered} onClick={() => show({ text: "", name: "", owner: "" })}>
            Clear
          </button>
        </div>
      </form>
      {chips.length > 0 && (
        <ul className="chips" aria-label="Filters">
          {chips.map(({ text, without }) => (
            <li key={text}>
              <button className="wrap" onClick={() => show(without)} aria-label={`Remove the filter ${text}`}>
                {text} <span aria-hidden="true">✕</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      <div className="row news" aria-live="polite">
        <span className="quiet">
          {connection?.totalCount !== undefined && `${plural(connection.totalCount, "data object")}${searching ? " found" : ""}`}
          {read.loading && connection && " Loading…"}
        </span>
        {live.added > 0 && (
          <button className="small" onClick={live.show}>
            {live.added} new: show
          </button>
        )}
      </div>
      {read.error && (
        <>
          <Failure error={read.error} again={read.again} />
          {(shown.after || shown.before) && <button onClick={() => show({})}>Go to the first page</button>}
        </>
      )}
      {!connection && read.loading && <Loading />}
      {connection && !live.rows.length && (
        <Empty>
          {filtered ? (
            <p>No data object matches. Remove a filter, or search for other words.</p>
          ) : shown.after || shown.before ? (
            <p>This page is empty by now. Go to the first page.</p>
          ) : (
            <p>There is no data object yet. Make the first with “New data object”.</p>
          )}
        </Empty>
      )}
      {live.rows.length > 0 && (
        <DataTable
          rows={live.rows}
          label="Data objects"
          showOwner={staff}
          order={searching ? undefined : { field: shown.field, direction: shown.direction, onOrder }}
        />
      )}
      {info && (info.hasNextPage || info.hasPreviousPage || shown.after || shown.before) && (
        <nav className="row" aria-label="Pages of data objects">
          <button disabled={!shown.after && !shown.before} onClick={() => show({})}>
            First page
          </button>
          {!searching && (
            <button disabled={!info.hasPreviousPage} onClick={() => show({ before: info.startCursor ?? "" })}>
              Previous page
            </button>
          )}
          <button disabled={!info.hasNextPage} onClick={() => show({ after: info.endCursor ?? "" })}>
            Next page
          </button>
        </nav>
      )}
    </Page>
  );
}
