/** A table that scrolls inside its own box, by keyboard too, so that the page never scrolls sideways. */
import type { ReactNode } from "react";

export function Table(props: { label: string; dense?: boolean; children: ReactNode }) {
  return (
    <div className="table" role="region" aria-label={props.label} tabIndex={0}>
      <table className={props.dense ? "dense" : undefined}>{props.children}</table>
    </div>
  );
}
