/** A table that scrolls inside its own box, by keyboard too, so that the page never scrolls sideways. */
import type { ReactNode } from "react";

export function Table(props: {
  label: string;
  dense?: boolean;
  /** `short` scrolls down in its box too; `rows` keeps each row on one line. */
  kind?: "short" | "rows";
  busy?: boolean;
  children: ReactNode;
}) {
  return (
    <div
      className={props.kind ? `table ${props.kind}` : "table"}
      role="region"
      aria-label={props.label}
      aria-busy={props.busy}
      tabIndex={0}
    >
      <table className={props.dense ? "dense" : undefined}>{props.children}</table>
    </div>
  );
}
