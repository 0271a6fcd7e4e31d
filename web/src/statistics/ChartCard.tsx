/** A chart with a sentence that says what it shows, its table and its file. */
import { type ReactNode, Suspense } from "react";

import { Card, Empty } from "../components/ui";
import type { Point, Series } from "../components/Chart";
import { Table } from "../components/Table";
import { lazily } from "../lazily";
import { csv, download } from "../text";

const Chart = lazily(() => import("../components/Chart")); // Recharts is large: figures and tables do not wait for it

type Cell = string | number | null;

export interface Sheet {
  header: readonly string[];
  rows: readonly (readonly Cell[])[];
}

const shown = (cell: Cell): string =>
  cell === null ? "–" : typeof cell === "number" ? cell.toLocaleString(undefined, { maximumFractionDigits: 1 }) : cell;

export function SheetTable({ label, sheet }: { label: string; sheet: Sheet }) {
  return (
    <Table label={label}>
      <thead>
        <tr>
          {sheet.header.map((name, column) => (
            <th key={name} scope="col" className={column ? "number" : undefined}>
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {sheet.rows.map((row) => (
          <tr key={String(row[0])}>
            {row.map((cell, column) =>
              column ? (
                <td key={sheet.header[column]} className="number">
                  {shown(cell)}
                </td>
              ) : (
                <th key={sheet.header[column]} scope="row">
                  {shown(cell)}
                </th>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

export function CsvButton({ title, sheet }: { title: string; sheet: Sheet }) {
  const file = `${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.csv`;
  const save = () => {
    const rows = sheet.rows.map((row) => row.map((cell) => (typeof cell === "number" ? Math.round(cell * 100) / 100 : cell)));
    download(file, "text/csv", csv(sheet.header, rows));
  };
  return (
    <button onClick={save} aria-label={`Download CSV: ${title}`}>
      Download CSV
    </button>
  );
}

export function ChartCard(props: {
  title: string;
  /** What the chart shows, in one sentence. */
  summary: ReactNode;
  points: readonly Point[];
  series: readonly Series[];
  sheet: Sheet;
  /** What to say instead if there is nothing to draw. */
  empty?: string | undefined;
  lying?: boolean;
  label?: (name: string) => string;
  fromZero?: boolean;
}) {
  const { title, points, series, lying, label, fromZero } = props;
  return (
    <Card title={title} actions={<CsvButton title={title} sheet={props.sheet} />}>
      <p>{props.summary}</p>
      {props.empty ? (
        <Empty>{props.empty}</Empty>
      ) : (
        <Suspense fallback={<div className="chart" />}>
          <Chart points={points} series={series} lying={lying} label={label} fromZero={fromZero} />
        </Suspense>
      )}
      <details>
        <summary>Table: {title.toLowerCase()}</summary>
        <SheetTable label={`${title}: table`} sheet={props.sheet} />
      </details>
    </Card>
  );
}
