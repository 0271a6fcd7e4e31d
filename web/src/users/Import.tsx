/** Import of a file, slice by slice, with the report of `rollcall import`. */
import { useEffect, useRef, useState } from "react";

import { Table } from "../components/Table";
import { Dialog, Field, Notice, type Problem, Problems, Select } from "../components/ui";
import { csv, download, plural } from "../text";
import { write } from "../use";
import { IMPORT_USERS } from "./documents";
import { FileProblem, type Slice, slicesOf } from "./slices";

const RETRIES = 30;
const PAUSE_MS = 2_000;
const SHOWN = 100;
const PASSING = ["NETWORK", "UNAVAILABLE", "RATE_LIMITED"];
const ENCODINGS = [
  ["utf-8", "UTF-8"],
  ["utf-16le", "UTF-16"],
  ["windows-1252", "Windows-1252: Excel in western Europe"],
  ["windows-1250", "Windows-1250: Excel in central Europe"],
  ["windows-1251", "Windows-1251: Excel with Cyrillic"],
] as const;
const TARGETS = ["username", "email", "name", "role", "password_hash"] as const;

interface Report {
  imported: number;
  existing: number;
  refused: { line: number; message: string }[];
  done: number;
  size: number;
}

const kib = (bytes: number): string => `${Math.ceil(bytes / 1024).toLocaleString()} KiB`;

export function Import(props: { onClose: () => void; onImported: () => void }) {
  const [report, setReport] = useState<Report | null>(null);
  const [phase, setPhase] = useState<"choose" | "running" | "report">("choose");
  const [problems, setProblems] = useState<readonly Problem[]>([]);
  const [waiting, setWaiting] = useState<string | null>(null);
  const stop = useRef(false);
  useEffect(() => () => void (stop.current = true), []); // another user may be signed in then

  /** One slice; a second try is safe, since users that are there already are left alone. */
  const send = async (slice: Slice, map: string[]) => {
    const input = { content: slice.content, firstLine: slice.firstLine, ...(map.length ? { map } : {}) };
    for (let tries = 0; ; tries += 1) {
      const answer = await write(IMPORT_USERS, "importUsers", { input });
      const code = answer.problems[0]?.code ?? "";
      if (!PASSING.includes(code) || tries === RETRIES || stop.current) {
        setWaiting(null);
        return answer;
      }
      setWaiting(`${answer.problems[0]?.message} Trying again.`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  };

  const run = async (form: FormData) => {
    const file = form.get("file") as File;
    const map = TARGETS.flatMap((target) => {
      const source = String(form.get(target) ?? "").trim();
      return source ? [`${target}=${source}`] : [];
    });
    stop.current = false;
    let sum: Report = { imported: 0, existing: 0, refused: [], done: 0, size: file.size };
    setProblems([]);
    setReport(sum);
    setPhase("running");
    try {
      for await (const slice of slicesOf({ blob: file, encoding: String(form.get("encoding")) })) {
        if (stop.current) break;
        const { payload, problems: found } = await send(slice, map);
        if (found.length || !payload) {
          setProblems(found);
          break;
        }
        const refused = payload.refused.map(({ line, message }) => ({ line: slice.lines?.[line - 1] ?? line, message }));
        sum = {
          ...sum,
          imported: sum.imported + payload.imported,
          existing: sum.existing + payload.existing,
          refused: [...sum.refused, ...refused],
          done: slice.done,
        };
        setReport(sum);
      }
    } catch (error) {
      const message = error instanceof FileProblem ? error.message : `The file cannot be read: ${(error as Error).message}`;
      setProblems([{ code: "INVALID", message }]);
    }
    setPhase("report");
    props.onImported();
  };

  const whole = report !== null && report.done >= report.size;
  return (
    <Dialog
      title="Import users"
      open
      onClose={() => {
        stop.current = true;
        props.onClose();
      }}
      cancel={phase === "report" ? "Close" : phase === "running" ? "Stop and close" : "Cancel"}
      onSubmit={(form) => void run(form)}
      actions={
        phase === "choose" ? (
          <button className="primary" type="submit">
            Import
          </button>
        ) : phase === "running" ? (
          <button type="button" onClick={() => (stop.current = true)}>
            Stop
          </button>
        ) : (
          <button type="button" onClick={() => setPhase("choose")}>
            Import another file
          </button>
        )
      }
    >
      {phase === "choose" && (
        <>
          <Field
            label="File"
            name="file"
            type="file"
            required
            accept=".jsonl,.ndjson,.json,.csv,.tsv,.txt"
            hint="JSON lines, a JSON array, or CSV with a header line. A second import of the same file adds nothing."
          />
          <Select label="Encoding" name="encoding">
            {ENCODINGS.map(([name, label]) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </Select>
          <details>
            <summary>The file has other names for the fields</summary>
            <p className="quiet">Name the file’s field for each. Leave empty what has its own name. Other fields become attributes.</p>
            <div className="columns">
              {TARGETS.map((target) => (
                <Field key={target} label={`Field for ${target}`} name={target} placeholder={target} autoComplete="off" />
              ))}
            </div>
          </details>
        </>
      )}
      {report && phase !== "choose" && (
        <>
          <div role="group" aria-label="Import: progress">
            <progress value={report.done} max={report.size || 1} aria-label="Import" />
            <p className="quiet">
              {kib(report.done)} of {kib(report.size)}
            </p>
          </div>
          {waiting && <Notice kind="warn">{waiting}</Notice>}
          <Problems problems={problems} />
          {phase === "report" && (
            <Notice kind={whole && !report.refused.length && !problems.length ? "good" : "warn"}>
              {whole ? "The whole file was read." : "The file was not read to its end. Import it again: what is there is left alone."}
            </Notice>
          )}
          <dl className="figures">
            <div>
              <dt>Imported</dt>
              <dd>
                {report.imported.toLocaleString()} <small>users</small>
              </dd>
            </div>
            <div>
              <dt>Existing</dt>
              <dd>
                {report.existing.toLocaleString()} <small>users</small>
              </dd>
            </div>
            <div>
              <dt>Refused</dt>
              <dd>
                {report.refused.length.toLocaleString()} <small>lines</small>
              </dd>
            </div>
          </dl>
          {report.refused.length > 0 && (
            <>
              <Table label="Refused lines" kind="short">
                <thead>
                  <tr>
                    <th scope="col" className="number">
                      Line
                    </th>
                    <th scope="col">Reason</th>
                  </tr>
                </thead>
                <tbody>
                  {report.refused.slice(0, SHOWN).map(({ line, message }, index) => (
                    <tr key={index}>
                      <td className="number">{line}</td>
                      <td className="wrap">{message}</td>
                    </tr>
                  ))}
                </tbody>
              </Table>
              <div className="row">
                {report.refused.length > SHOWN && <span className="quiet">The first {plural(SHOWN, "line")} of them.</span>}
                <button
                  type="button"
                  onClick={() =>
                    download(
                      "refused.csv",
                      "text/csv",
                      csv(
                        ["line", "reason"],
                        report.refused.map(({ line, message }) => [line, message]),
                      ),
                    )
                  }
                >
                  Download refused lines as CSV
                </button>
              </div>
            </>
          )}
        </>
      )}
    </Dialog>
  );
}
