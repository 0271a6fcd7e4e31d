import { Link } from "wouter";

import { Table } from "../components/Table";
import { Badge, Moment } from "../components/ui";
import type { DataOrderField, OrderDirection } from "../gql/graphql";
import type { LiveRow } from "./useLiveRows";

const COLUMNS: readonly { field: DataOrderField; text: string; number?: boolean }[] = [
  { field: "NUMBER", text: "Number", number: true },
  { field: "NAME", text: "Name" },
  { field: "UPDATED_AT", text: "Last change" },
  { field: "CREATED_AT", text: "Created" },
];

export function DataTable(props: {
  rows: readonly LiveRow[];
  label: string;
  showOwner: boolean;
  order?: { field: DataOrderField; direction: OrderDirection; onOrder: (field: DataOrderField) => void } | undefined;
}) {
  const { order } = props;
  return (
    <Table label={props.label}>
      <thead>
        <tr>
          {COLUMNS.map(({ field, text, number }) => {
            const chosen = order?.field === field;
            return (
              <th
                key={field}
                scope="col"
                className={number ? "number" : undefined}
                aria-sort={chosen ? (order.direction === "ASC" ? "ascending" : "descending") : undefined}
              >
                {order ? (
                  <button onClick={() => order.onOrder(field)}>
                    {text} <span aria-hidden="true">{chosen ? (order.direction === "ASC" ? "▲" : "▼") : "↕"}</span>
                  </button>
                ) : (
                  text
                )}
              </th>
            );
          })}
          {props.showOwner && <th scope="col">Owner</th>}
          <th scope="col" className="number">
            Version
          </th>
        </tr>
      </thead>
      <tbody>
        {props.rows.map((row) => (
          <tr key={row.id} className={row.gone ? "gone" : row.changes ? "changed" : undefined}>
            <td className="number">{row.number}</td>
            <td className="name">
              {row.gone ? (
                <>
                  {row.name} <Badge kind="bad">Deleted</Badge>
                </>
              ) : (
                <Link href={`/data/${row.number}`}>{row.name}</Link>
              )}
            </td>
            {/* A new key restarts the animation of a row that changes again. */}
            <td key={row.changes}>
              <Moment at={row.updatedAt} />
            </td>
            <td>
              <Moment at={row.createdAt} />
            </td>
            {props.showOwner && (
              <td>
                <Link href={`/users/${row.owner.id}`}>{row.owner.username}</Link>
              </td>
            )}
            <td className="number">{row.version}</td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
