/** JSON values: equality, merge patches (RFC 7396), and what three versions of one value differ in. */

import { parseExact } from "./exact";

export type Fields = { readonly [name: string]: unknown };
export type Path = readonly string[];

export const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Names and items that an object has itself: `__proto__` is a name like any other. */
const has = (fields: Fields, name: string): boolean => Object.hasOwn(fields, name);
const built = (entries: Iterable<readonly [string, unknown]>): Fields => Object.fromEntries(entries);

/** Equality without regard to the order of names. */
export function equal(one: unknown, other: unknown): boolean {
  if (Array.isArray(one)) {
    return Array.isArray(other) && one.length === other.length && one.every((item, index) => equal(item, other[index]));
  }
  if (!isFields(one)) return one === other;
  if (!isFields(other)) return false;
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length && names.every((name) => has(other, name) && equal(one[name], other[name]))
  );
}

/** The patch that makes `after` of `before`. Names that both have alike are not in it. */
export function patchOf(before: Fields, after: Fields): Fields {
  const removed = Object.keys(before)
    .filter((name) => !has(after, name))
    .map((name) => [name, null] as const);
  const changed = Object.entries(after)
    .filter(([name, value]) => !has(before, name) || !equal(before[name], value))
    .map(([name, value]) => {
      const old = has(before, name) ? before[name] : undefined;
      return [name, isFields(old) && isFields(value) ? patchOf(old, value) : value] as const;
    });
  return built([...removed, ...changed]);
}

/** What the server makes of a patch. */
export function patched(value: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return patch;
  const before = isFields(value) ? value : {};
  const kept = Object.entries(before).filter(([name]) => !has(patch, name));
  const set = Object.entries(patch)
    .filter(([, one]) => one !== null)
    .map(([name, one]) => [name, patched(has(before, name) ? before[name] : undefined, one)] as const);
  return built([...kept, ...set]);
}

/** Whether a patch can make `after` of `before`: it cannot set a field to null, since null removes. */
export const canPatch = (before: Fields, after: Fields): boolean => equal(patched(before, patchOf(before, after)), after);

/** A place where mine and theirs differ. `undefined`: the place does not exist there. */
export interface Difference {
  path: Path;
  mine: unknown;
  theirs: unknown;
  /** Who changed it since the value that both began with. */
  by: "mine" | "theirs" | "both";
}

export function differences(base: unknown, mine: unknown, theirs: unknown, path: Path = []): Difference[] {
  if (equal(mine, theirs)) return [];
  if (isFields(mine) && isFields(theirs)) {
    const names = new Set([...Object.keys(theirs), ...Object.keys(mine)]);
    const at = (value: unknown, name: string) => (isFields(value) && has(value, name) ? value[name] : undefined);
    return [...names].flatMap((name) => differences(at(base, name), at(mine, name), at(theirs, name), [...path, name]));
  }
  return [{ path, mine, theirs, by: equal(base, theirs) ? "mine" : equal(base, mine) ? "theirs" : "both" }];
}

/** The value with another one at a path; `undefined` removes. */
export function withValue(value: unknown, path: Path, set: unknown): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return set;
  const fields = isFields(value) ? value : {};
  const inner = withValue(has(fields, name) ? fields[name] : undefined, rest, set);
  if (!has(fields, name)) return inner === undefined ? fields : built([...Object.entries(fields), [name, inner]]);
  return built(
    Object.entries(fields).flatMap(([one, old]) => (one === name ? (inner === undefined ? [] : [[one, inner]]) : [[one, old]])),
  );
}

/** The object that a text holds, or why it holds none. */
export function parseFields(text: string): { fields: Fields } | { why: string } {
  try {
    const value: unknown = parseExact(text);
    return isFields(value) ? { fields: value } : { why: 'Write a JSON object, such as {"city": "Kuala Lumpur"}.' };
  } catch (error) {
    return { why: `Not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
}
