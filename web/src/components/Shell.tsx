/** The frame around the pages of a signed-in user: navigation by role, the state of the connection, sign-out. */
import { useConnection } from "@rollcall/client/react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { Link, useLocation } from "wouter";

import type { Role } from "../gql/graphql";
import { keep, kept } from "../kept";
import { signOut, useViewer } from "../session";
import { roleName } from "../text";
import { Notice } from "./ui";

const STAFF: readonly Role[] = ["TECHNICAL_WORKER", "SENIOR_MANAGEMENT", "ADMIN"];

export const isStaff = (role: Role): boolean => STAFF.includes(role);

const LINKS: readonly { to: string; text: string; shown: (role: Role) => boolean }[] = [
  { to: "/dashboard", text: "Dashboard", shown: () => true },
  { to: "/users", text: "Users", shown: isStaff },
  { to: "/data", text: "Data", shown: () => true },
  { to: "/audit", text: "Audit log", shown: isStaff },
  { to: "/webhooks", text: "Webhooks", shown: (role) => role === "ADMIN" },
  { to: "/account", text: "Account", shown: () => true },
];

const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const THEME = "rollcall-theme";
const initial: Theme = THEMES.find((theme) => theme === kept(THEME)) ?? "system";

export function applyTheme(theme: Theme = initial): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  keep(THEME, theme);
}

function ThemeChoice() {
  const [theme, become] = useState<Theme>(initial);
  return (
    <select
      aria-label="Colours"
      value={theme}
      onChange={(event) => {
        const chosen = event.target.value as Theme;
        become(chosen);
        applyTheme(chosen);
      }}
    >
      <option value="system">System</option>
      <option value="light">Light</option>
      <option value="dark">Dark</option>
    </select>
  );
}

/** Says that the connection is lost, and that it is back. */
function ConnectionNotice() {
  const connection = useConnection();
  const [healed, setHealed] = useState(false);
  const wasLost = useRef(false);
  useEffect(() => {
    if (connection === "lost") wasLost.current = true;
    if (connection !== "open" || !wasLost.current) return undefined;
    wasLost.current = false;
    setHealed(true);
    const timer = setTimeout(() => setHealed(false), 4_000);
    return () => clearTimeout(timer);
  }, [connection]);
  return (
    <div aria-live="polite">
      {connection === "lost" && (
        <div className="notice warn">Connection lost. Trying again; what you see may be old. Nothing will be missed.</div>
      )}
      {healed && connection === "open" && <div className="notice good">Connected again, and up to date.</div>}
    </div>
  );
}

export function Shell(props: { children: ReactNode }) {
  const viewer = useViewer();
  const [path] = useLocation();
  const [failed, setFailed] = useState<string | null>(null);
  const leave = () => {
    setFailed(null);
    signOut().catch((error: Error) => setFailed(error.message));
  };
  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="bar">
        <Link className="brand" href="/dashboard">
          Rollcall
        </Link>
        <nav aria-label="Main">
          {LINKS.filter((link) => link.shown(viewer.role)).map((link) => (
            <Link
              key={link.to}
              href={link.to}
              aria-current={path === link.to || path.startsWith(`${link.to}/`) ? "page" : undefined}
            >
              {link.text}
            </Link>
          ))}
        </nav>
        <div className="who">
          <div className="name">
            {viewer.name} <small className="quiet">{roleName(viewer.role)}</small>
          </div>
          <div>
            <ThemeChoice />
          </div>
          <button onClick={leave}>Sign out</button>
        </div>
      </header>
      <ConnectionNotice />
      {failed && <Notice kind="bad">{failed}</Notice>}
      {props.children}
    </>
  );
}
