/** Differences between JSON objects, as a list for people. */
import { equal, isFields } from "../json/values";

type Members = Record<string, unknown>;

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

export const asObject = (value: unknown): Members => (isFields(value) ? value : {});
