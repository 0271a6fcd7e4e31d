/**
 * The session of a client: its access token, in memory only, and the one renewal that all calls and tabs wait for.
 *
 * A refresh token may be used once. So parallel calls share one renewal, tabs take turns (tabs.ts), and the one that
 * waited takes over what the other has got.
 */
import type { IssuedSession, SessionKeeper, Tokens } from "./keepers.js";
import { type Message, type Tabs, tabsOf } from "./tabs.js";

/** How the session ended. */
export type SessionEnd =
  /** No session was kept, or it had ended before this client began. */
  | "none"
  /** The user has signed out with this client. */
  | "signed-out"
  /** The user has signed out in another tab. */
  | "signed-out-elsewhere"
  /** The server does not know the session any more: it was ended there, or has expired. */
  | "ended"
  /** The user was deleted. */
  | "deleted";

export type SessionState =
  /** It is not known yet whether a session was kept. */
  | { readonly status: "starting"; readonly userId: null; readonly reason: null }
  | { readonly status: "signed-in"; readonly userId: string; readonly reason: null }
  | { readonly status: "signed-out"; readonly userId: null; readonly reason: SessionEnd };

const STARTING: SessionState = { status: "starting", userId: null, reason: null };

export class Session {
  readonly #keeper: SessionKeeper;
  readonly #tabs: Tabs;
  readonly #listeners = new Set<(state: SessionState) => void>();
  #state: SessionState = STARTING;
  #tokens: Tokens | null = null;
  /** Counts what has happened to the tokens. */
  #changes = 0;
  #renewal: Promise<void> | null = null;
  #last: Promise<unknown> = Promise.resolve();

  /** `onWritten` hears of the positions that other tabs have written. */
  constructor(keeper: SessionKeeper, onWritten: (position: string) => void) {
    this.#keeper = keeper;
    this.#tabs = tabsOf(keeper.shared, (message: Message) => {
      if (message.kind === "written") onWritten(message.position);
      else if (message.kind === "tokens") this.#become(message.tokens);
      else this.#lose(message.reason === "signed-out" ? "signed-out-elsewhere" : message.reason);
    });
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Call a function whenever the state changes, until the returned function is called. */
  onChange(listener: (state: SessionState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Find out whether a session was kept. Calls do so by themselves. */
  async start(): Promise<SessionState> {
    await this.accessToken();
    return this.#state;
  }

  /** A valid access token, renewed if it is about to expire; null if nobody is signed in. */
  async accessToken(): Promise<string | null> {
    if (this.#state.status !== "signed-out" && Date.now() >= (this.#tokens?.renewAt ?? 0)) {
      const tokens = this.#tokens;
      try {
        await this.#renew();
      } catch (error) {
        // It may be used until its end, which a renewal comes before by a good while.
        if (this.#tokens !== tokens || !tokens || Date.now() >= tokens.expiresAt) throw error;
      }
    }
    return this.#tokens?.accessToken ?? null;
  }

  /** Replace an access token that the server has refused, unless that was done already. */
  async replace(refused: string): Promise<void> {
    if (this.#tokens?.accessToken === refused) await this.#renew();
  }

  /** Take over a session that a mutation has returned. `remember`: keep it when the browser is closed (`inCookie`). */
  adopt(session: IssuedSession, remember?: boolean): Promise<void> {
    return this.#inTurn(async (late) => {
      await late(); // the end of the session before must not be heard after this one has begun
      const tokens = await this.#keeper.begin(session, remember);
      this.#become(tokens);
      this.#tabs.send({ kind: "tokens", tokens });
    });
  }

  /** End the session where it is kept, and in all tabs. Rejects, and nothing has ended here, if it may still be kept. */
  end(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#keeper.end();
      this.#forget("signed-out");
    });
  }

  /** The application has learned that the session has ended: end it here, in all tabs, and where it is kept. */
  ended(reason: "ended" | "deleted"): void {
    this.#forget(reason);
    void this.#inTurn(() => this.#keeper.end()); // what cannot be removed now leads to no session
  }

  written(position: string): void {
    this.#tabs.send({ kind: "written", position });
  }

  close(): void {
    this.#tabs.close();
    this.#listeners.clear();
  }

  #renew(): Promise<void> {
    this.#renewal ??= this.#renewInTurn().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  async #renewInTurn(): Promise<void> {
    const changes = this.#changes;
    await this.#inTurn(async (late) => {
      if (this.#changes === changes) await late();
      if (this.#changes !== changes) return; // another tab has renewed or ended it
      const tokens = await this.#keeper.renew();
      if (this.#changes !== changes) return; // signed out meanwhile
      if (tokens) {
        this.#become(tokens);
        this.#tabs.send({ kind: "tokens", tokens });
      } else if (this.#tokens) this.#forget("ended");
      // A tab that has just begun may see an older storage than one that has just signed in: it ends nothing.
      else this.#lose("none");
    });
  }

  /** One use of the keeper at a time, in this client and in all tabs: a renewal must not follow a new sign-in. */
  #inTurn<Value>(run: (late: () => Promise<void>) => Promise<Value>): Promise<Value> {
    const turn = this.#last.then(() => this.#tabs.inTurn(run));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  #forget(reason: SessionEnd): void {
    this.#become(null, reason);
    this.#tabs.send({ kind: "ended", reason });
  }

  /** The first reason counts: a server that ends a session closes its sockets, too. */
  #lose(reason: SessionEnd): void {
    this.#become(null, this.#state.status === "signed-out" ? this.#state.reason : reason);
  }

  #become(tokens: Tokens | null, reason: SessionEnd = "none"): void {
    this.#changes += 1;
    this.#tokens = tokens;
    const before = this.#state;
    const userId = tokens?.userId ?? null;
    this.#state = userId === null ? { status: "signed-out", userId, reason } : { status: "signed-in", userId, reason: null };
    if (before.userId === userId && before.reason === this.#state.reason && before.status !== "starting") return;
    for (const listener of [...this.#listeners]) listener(this.#state);
  }
}
