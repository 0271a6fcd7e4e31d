/** What the list of users is asked for. It lives in the URL, so a list can be kept as a bookmark and sent on. */
import type { AttributeFilter, Role, UserFilter, UserOrderField } from "../gql/graphql";
import { parseExact } from "../json/exact";
import { ROLES, roleName } from "../text";

export type TextName = "username" | "email" | "name";
export const TEXTS: readonly TextName[] = ["username", "email", "name"];
export const ORDERS: readonly UserOrderField[] = ["CREATED_AT", "UPDATED_AT", "USERNAME", "EMAIL", "NAME"];

/** One filter as it stands in the URL. */
export interface Chip {
  key: "role" | "since" | "until" | TextName | "attribute";
  value: string;
}

export const KEYS: readonly Chip["key"][] = ["role", "since", "until", ...TEXTS, "attribute"];

const NAMES: Record<Chip["key"], string> = {
  role: "Role",
  since: "Created since",
  until: "Created until",
  username: "Username contains",
  email: "Email contains",
  name: "Name contains",
  attribute: "Attribute equals",
};

export const keyName = (key: Chip["key"]): string => NAMES[key];

const day = (text: string, days: number): Date | null => {
  const [year, month, date] = text.split("-").map(Number);
  if (!year || !month || !date) return null;
  return new Date(year, month - 1, date + days);
};

/** `address.city=Penang` as a path and a value. */
const split = (value: string): [path: string, text: string] => {
  const at = value.indexOf("=");
  return at < 0 ? [value, ""] : [value.slice(0, at).trim(), value.slice(at + 1).trim()];
};

/** 42, true, null and "42" are JSON; whatever else is typed is a text. */
const jsonOrText = (text: string): unknown => {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
};

export function chipText({ key, value }: Chip): string {
  if (key === "role") return `Role: ${ROLES.includes(value as Role) ? roleName(value as Role) : value}`;
  if (key === "attribute") {
    const [path, text] = split(value);
    return `${path} = ${text}`;
  }
  if (key === "since" || key === "until") return `${NAMES[key]} ${day(value, 0)?.toLocaleDateString() ?? value}`;
  return `${NAMES[key]} “${value}”`;
}

export const chipsOf = (params: URLSearchParams): Chip[] =>
  KEYS.flatMap((key) => params.getAll(key).map((value) => ({ key, value })));

/** The tests that both views answer. Several roles: any of them; several texts: all of them. */
export function filterOf(chips: readonly Chip[]): UserFilter | undefined {
  const roles = chips.flatMap(({ key, value }) => (key === "role" ? [value as Role] : []));
  const tests: UserFilter[] = roles.length ? [{ role: { in: roles } }] : [];
  for (const { key, value } of chips) {
    if (key === "since" || key === "until") {
      const at = day(value, key === "until" ? 1 : 0)?.toISOString();
      if (at) tests.push({ createdAt: key === "since" ? { gte: at } : { lt: at } });
    } else if (key === "username" || key === "email" || key === "name") {
      tests.push({ [key]: { contains: value } });
    }
  }
  return tests.length > 1 ? { and: tests } : tests[0];
}

/** The tests on attributes, which the MongoDB view answers. */
export const pathsOf = (chips: readonly Chip[]): AttributeFilter[] =>
  chips.flatMap(({ key, value }) => {
    const [path, text] = split(value);
    return key === "attribute" ? [{ path, eq: jsonOrText(text) }] : [];
  });
