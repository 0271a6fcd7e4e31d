/** A field for a new password, with a meter that agrees with the server's rules. */
import { useId, useState } from "react";

import { Field, type Problem } from "../components/ui";
import { type Names, strength } from "./password";

const WORDS = ["nothing typed", "refused", "accepted", "good", "strong"] as const;

export function NewPasswordField(props: {
  label: string;
  name: string;
  names: Names;
  problems: readonly Problem[];
  autoFocus?: boolean;
}) {
  const [password, type] = useState("");
  const [shown, show] = useState(false);
  const id = useId();
  const { level, says } = strength(password, props.names);
  return (
    <div className="stack tight">
      <Field
        label={props.label}
        name={props.name}
        type={shown ? "text" : "password"}
        autoComplete="new-password"
        autoCapitalize="none"
        spellCheck={false}
        required
        autoFocus={props.autoFocus}
        value={password}
        onChange={(event) => type(event.target.value)}
        problems={props.problems}
        hint={
          <>
            <span
              className={`meter level-${level}`}
              role="meter"
              aria-label="Strength"
              aria-valuemin={0}
              aria-valuemax={4}
              aria-valuenow={level}
              aria-valuetext={WORDS[level]}
            >
              {[1, 2, 3, 4].map((step) => (
                <span key={step} className={step <= level ? "on" : undefined} />
              ))}
            </span>
            <span id={id} aria-live="polite">
              {says}
            </span>
          </>
        }
      />
      <button type="button" className="small" aria-pressed={shown} onClick={() => show(!shown)}>
        {shown ? "Hide the password" : "Show the password"}
      </button>
    </div>
  );
}
