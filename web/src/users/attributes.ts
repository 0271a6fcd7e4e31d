/** Differences between JSON objects: as a merge patch for the API, and as a list for people. */
import { parseExact } from "../json/exact";
import { equal, isFields, patchOf } from "../json/values";

type Members = Record<string, unknown>;

/** The JSON merge patch (RFC 7396) that makes `to` of `from`; undefined if they are equal. */
export const mergePatch = (from: Members, to: Members): Members | undefined => (equal(from, to) ? undefined : patchOf(from, to));

export interface Difference {
  path: string;
  before: unknown;
  after: unknown;
}

/** What differs, path by path. A value that is missing on one side is undefined there. */
export function differences(before: unknown, after: unknown, path = ""): Difference[] {
  if (equal(before, after)) return [];
  if (!isFields(before) || !isFields(after)) return [{ path, before, after }];
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
    value = text.trim() ? parseExact(text) : {};
  } catch (error) {
    return { problem: `This is not JSON: ${(error as Error).message}` };
  }
  return isFields(value) ? { value } : { problem: "Write a JSON object, such as {\"city\": \"Penang\"}." };
}

export const asObject = (value: unknown): Members => (isFields(value) ? value : {});
