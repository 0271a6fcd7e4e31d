/** Differences between JSON objects: as a merge patch for the API, and as a list for people. */

type Members = Record<string, unknown>;

const isObject = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether two JSON values are equal. The order of an object's keys does not count. */
export function equal(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((value, index) => equal(value, other[index]));
  }
  if (!isObject(one) || !isObject(other)) return false;
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length && keys.every((key) => Object.hasOwn(other, key) && equal(one[key], other[key]))
  );
}

/** The JSON merge patch (RFC 7396) that makes `to` of `from`; undefined if they are equal. */
export function mergePatch(from: Members, to: Members): Members | undefined {
  const entries: [string, unknown][] = [];
  for (const key of Object.keys(from)) if (!Object.hasOwn(to, key)) entries.push([key, null]);
  for (const [key, value] of Object.entries(to)) {
    const before = Object.hasOwn(from, key) ? from[key] : undefined;
    if (equal(before, value)) continue;
    const inner = isObject(before) && isObject(value) ? mergePatch(before, value) : value;
    entries.push([key, inner]);
  }
  return entries.length ? Object.fromEntries(entries) : undefined;
}

export interface Difference {
  path: string;
  before: unknown;
  after: unknown;
}

/** What differs, path by path. A value that is missing on one side is undefined there. */
export function differences(before: unknown, after: unknown, path = ""): Difference[] {
  if (equal(before, after)) return [];
  if (!isObject(before) || !isObject(after)) return [{ path, before, after }];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) =>
    differences(
      Object.hasOwn(before, key) ? before[key] : undefined,
      Object.hasOwn(after, key) ? after[key] : undefined,
      path ? `${path}.${key}` : key,
    ),
  );
}

/** The object that a person has typed, or what is wrong with it. */
export function parseObject(text: string): { value: Members } | { problem: string } {
  let value: unknown;
  try {
    value = text.trim() ? JSON.parse(text) : {};
  } catch (error) {
    return { problem: `This is not JSON: ${(error as Error).message}` };
  }
  return isObject(value) ? { value } : { problem: "Write a JSON object, such as {\"city\": \"Penang\"}." };
}

export const asObject = (value: unknown): Members => (isObject(value) ? value : {});
