/** The client of these pages. It keeps the refresh token in a cookie that scripts cannot read, and the access token in memory. */
import { createClient, inCookie, type SessionEnd } from "@rollcall/client";
import type { User } from "@rollcall/client/react";
import { createContext, useContext } from "react";

import { parseExact, writeExact } from "./json/exact";

export const client = createClient({
  url: "/graphql",
  session: inCookie(),
  streams: false, // two windows would take all the connections of a browser
  json: { parse: parseExact, stringify: (value) => writeExact(value) },
});

/** What the sign-in says of the session before. */
export const FAREWELLS: Readonly<Partial<Record<SessionEnd, string>>> = {
  "signed-out-elsewhere": "You have signed out in another window.",
  ended: "Your session has ended. Sign in again.",
  deleted: "Your account has been deleted.",
};

/** Throws if the cookie may still be there: whoever opens this browser next would be signed in. */
export async function signOut(): Promise<void> {
  try {
    await client.signOut();
  } catch {
    throw new Error("You are still signed in: the server cannot be reached. Sign out again before you leave.");
  }
}

export const ViewerContext = createContext<User | null>(null);

/** The signed-in user. Only for pages behind the sign-in. */
export function useViewer(): User {
  const viewer = useContext(ViewerContext);
  if (!viewer) throw new Error("no user is signed in");
  return viewer;
}
