/** The token of a mail's link. It leaves the address bar and the history of the browser at once. */
let taken: string | null = null;

export function takeToken(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return taken;
  history.replaceState(history.state, "", location.pathname + location.search);
  // React may run an initialiser twice; the second time the fragment has gone.
  taken = token;
  return taken;
}
