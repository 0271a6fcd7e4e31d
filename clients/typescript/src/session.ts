/**
 * The session of a client: its access token, in memory only, and the one renewal that all calls and tabs wait for.
 *
 * A refresh token may be used once. So parallel calls share one renewal, tabs take turns (tabs.ts), and the one that
 * waited takes over what the other has got.
 */
import type { IssuedSession, SessionKeeper, Tokens } from "./keepers.js";
import { type Message, type Tabs, tabsOf } from "./tabs.js";

export type SessionState =
  /** It is not known yet whether a session was kept. */
  | { readonly status: "starting"; readonly userId: null }
  | { readonly status: "signed-in"; readonly userId: string }
  | { readonly status: "signed-out"; readonly userId: null };

const STARTING: SessionState = { status: "starting", userId: null };
const SIGNED_OUT: SessionState = { status: "signed-out", userId: null };

export class Session {
  readonly #keeper: SessionKeeper;
  readonly #tabs: Tabs;
  readonly #listeners = new Set<(state: SessionState) => void>();
  #state = STARTING;
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
      else if (message.kind === "ended") this.#become(null);
      else this.#become(message.tokens);
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

  /** Take over a session that a mutation has returned. */
  adopt(session: IssuedSession): Promise<void> {
    return this.#inTurn(async () => {
      const tokens = await this.#keeper.begin(session);
      this.#become(tokens);
      this.#tabs.send({ kind: "tokens", tokens });
    });
  }

  /** Forget the session, in all tabs. */
  end(): Promise<void> {
    this.#become(null);
    this.#tabs.send({ kind: "ended" });
    return this.#inTurn(() => this.#keeper.end());
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
      const had = this.#tokens !== null;
      this.#become(tokens);
      // A tab that has just begun may see an older storage than one that has just signed in: it ends nothing.
      if (tokens) this.#tabs.send({ kind: "tokens", tokens });
      else if (had) this.#tabs.send({ kind: "ended" });
    });
  }

  /** One use of the keeper at a time, in this client and in all tabs: a renewal must not follow a new sign-in. */
  #inTurn<Value>(run: (late: () => Promise<void>) => Promise<Value>): Promise<Value> {
    const turn = this.#last.then(() => this.#tabs.inTurn(run));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  #become(tokens: Tokens | null): void {
    this.#changes += 1;
    this.#tokens = tokens;
    const status = tokens ? "signed-in" : "signed-out";
    if (this.#state.status === status && this.#state.userId === (tokens?.userId ?? null)) return;
    this.#state = tokens ? { status: "signed-in", userId: tokens.userId } : SIGNED_OUT;
    for (const listener of [...this.#listeners]) listener(this.#state);
  }
}
