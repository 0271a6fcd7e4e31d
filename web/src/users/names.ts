/** Usernames for the ids that are on a page. A request may ask for twenty. */
import { useEffect, useState } from "react";

import { client } from "../session";

const AT_ONCE = 20;
const ID = /^[0-9a-f-]{36}$/;

/** The username by id; null for a deleted user, undefined until it is known. Only those of this page are kept. */
export function useNames(ids: readonly string[]): ReadonlyMap<string, string | null> {
  const [names, become] = useState<ReadonlyMap<string, string | null>>(new Map());
  const wanted = [...new Set(ids)].filter((id) => ID.test(id)).sort();
  const key = wanted.join(" ");
  useEffect(() => {
    let current = true;
    void (async () => {
      const found = new Map<string, string | null>();
      const left = key ? key.split(" ") : [];
      while (left.length && current) {
        const some = left.splice(0, AT_ONCE);
        const fields = some.map((_, index) => `u${index}: user(id: $u${index}) { username }`).join(" ");
        const variables = some.map((_, index) => `$u${index}: ID!`).join(", ");
        const { data } = await client.query<Record<string, { username: string } | null>, object>(
          `query Names(${variables}) { ${fields} }`,
          Object.fromEntries(some.map((id, index) => [`u${index}`, id])),
        );
        for (const [index, id] of some.entries()) found.set(id, data[`u${index}`]?.username ?? null);
        if (current) become(new Map(found));
      }
    })().catch(() => undefined); // the ids are shown
    return () => {
      current = false;
    };
  }, [key]);
  return names;
}
