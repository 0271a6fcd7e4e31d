/** Everything about oneself as one JSON file, glued from the parts of the API. */
import { useEffect, useRef, useState } from "react";

import { Card, Failure } from "../components/ui";
import type { PersonalDataQuery } from "../gql/graphql";
import { writeExact } from "../json/exact";
import { client, useViewer } from "../session";
import { download, plural } from "../text";
import { PERSONAL_DATA } from "./documents";

type Everything = Record<string, unknown>;

/** A kind that comes in several parts is a list. */
function add(all: Everything, kind: string, content: unknown): void {
  const before = all[kind];
  all[kind] = Array.isArray(before) && Array.isArray(content) ? [...(before as unknown[]), ...(content as unknown[])] : content;
}

async function readAll(onPart: (all: Everything, parts: number) => void, stopped: () => boolean): Promise<Everything> {
  const all: Everything = {};
  let after: string | null = null;
  for (let parts = 1; !stopped(); parts++) {
    const { personalData } = (await client.query(PERSONAL_DATA, { after })).data as PersonalDataQuery;
    add(all, personalData.kind, personalData.content);
    onPart(all, parts);
    after = personalData.next ?? null;
    if (after === null) break;
  }
  return all;
}

const sizes = (all: Everything): string =>
  Object.entries(all)
    .map(([kind, content]) => (Array.isArray(content) ? `${kind}: ${plural(content.length, "entry").replace("entrys", "entries")}` : kind))
    .join(", ");

export function Export() {
  const viewer = useViewer();
  const [progress, setProgress] = useState<{ running: boolean; says: string } | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const left = useRef(false);
  useEffect(() => {
    left.current = false;
    return () => {
      left.current = true;
    };
  }, []);

  const start = async () => {
    setError(null);
    setProgress({ running: true, says: "Reading…" });
    try {
      const all = await readAll(
        (sofar, parts) => setProgress({ running: true, says: `${plural(parts, "part")} read. ${sizes(sofar)}.` }),
        () => left.current,
      );
      if (left.current) return;
      const day = new Date().toISOString().slice(0, 10);
      download(`rollcall-${viewer.username}-${day}.json`, "application/json", writeExact(all, 2));
      setProgress({ running: false, says: `The file is in your downloads. ${sizes(all)}.` });
    } catch (found) {
      setProgress(null);
      setError(found instanceof Error ? found : new Error(String(found)));
    }
  };
  return (
    <Card title="Your data">
      <p>One JSON file with your profile, sessions, history and data objects: all that is kept about you.</p>
      <button disabled={progress?.running} onClick={() => void start()}>
        Download everything about me
      </button>
      {progress?.running && <progress aria-label="Reading everything about me" />}
      <p className="quiet wrap" role="status">
        {progress?.says}
      </p>
      {error && <Failure error={error} again={() => void start()} />}
    </Card>
  );
}
