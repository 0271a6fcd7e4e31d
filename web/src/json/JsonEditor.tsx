/** JSON as text in a form. The text stays as it is typed; a mistake shows at the field. */
import { useState } from "react";

import { type Problem, TextArea } from "../components/ui";
import { writeExact } from "./exact";
import { type Fields, parseFields } from "./values";

export const written = (fields: Fields): string => writeExact(fields, 2);

/** `onChange` gets null while the text is no JSON object. */
export function JsonEditor(props: {
  label: string;
  initial: Fields;
  problems?: readonly Problem[];
  hint?: string;
  onChange: (fields: Fields | null) => void;
}) {
  const [text, type] = useState(() => written(props.initial));
  const parsed = parseFields(text);
  const mistakes = "why" in parsed ? [{ code: "INVALID", message: parsed.why }] : (props.problems ?? []);
  return (
    <TextArea
      label={props.label}
      className="mono json"
      rows={Math.min(Math.max(text.split("\n").length + 1, 6), 24)}
      spellCheck={false}
      autoCapitalize="none"
      autoComplete="off"
      value={text}
      onChange={(event) => {
        type(event.target.value);
        const next = parseFields(event.target.value);
        props.onChange("fields" in next ? next.fields : null);
      }}
      hint={props.hint}
      problems={mistakes}
    />
  );
}
