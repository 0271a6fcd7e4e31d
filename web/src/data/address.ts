/** What the list shows, as it stands in the URL: it can be kept, shared and gone back to. */
import type { DataFilter, DataOrderField, OrderDirection } from "../gql/graphql";

export const PAGE_SIZE = 25;

export interface Shown {
  /** Words of name and content. With them, best matches come first, and the rest of the filter does not apply. */
  text: string;
  name: string;
  /** Id of the owner. */
  owner: string;
  field: DataOrderField;
  direction: OrderDirection;
  after: string;
  before: string;
}

const ORDERS: readonly DataOrderField[] = ["NUMBER", "NAME", "CREATED_AT", "UPDATED_AT"];

export function shownOf(search: URLSearchParams): Shown {
  const text = (name: string) => search.get(name) ?? "";
  return {
    text: text("text"),
    name: text("name"),
    owner: text("owner"),
    field: ORDERS.find((order) => order === search.get("order")) ?? "NUMBER",
    direction: search.get("direction") === "DESC" ? "DESC" : "ASC",
    after: text("after"),
    before: text("before"),
  };
}

export function searchOf(shown: Shown): URLSearchParams {
  const search = new URLSearchParams();
  for (const name of ["text", "name", "owner", "after", "before"] as const) if (shown[name]) search.set(name, shown[name]);
  if (shown.field !== "NUMBER") search.set("order", shown.field);
  if (shown.direction !== "ASC") search.set("direction", shown.direction);
  return search;
}

export function filterOf({ name, owner }: Shown): DataFilter {
  return { ...(name && { name: { contains: name } }), ...(owner && { ownerId: owner }) };
}

export const listVariables = (shown: Shown) => ({
  filter: filterOf(shown),
  orderBy: { field: shown.field, direction: shown.direction },
  ...(shown.before ? { last: PAGE_SIZE, before: shown.before } : { first: PAGE_SIZE, after: shown.after || null }),
  count: !shown.after && !shown.before, // counting reads the whole list
});

export const searchVariables = (shown: Shown) => ({
  text: shown.text,
  first: PAGE_SIZE,
  after: shown.after || null,
  count: !shown.after,
});
