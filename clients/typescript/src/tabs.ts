/**
 * What the tabs of one session do together: one of them at a time renews the session, and all learn of it.
 *
 * Web Locks and BroadcastChannel are used where they exist. Without them (a page that is not served by HTTPS, Node.js)
 * each client renews by itself; the server's grace for refresh tokens covers two that do so at the same moment.
 */
import type { Tokens } from "./keepers.js";
import type { SessionEnd } from "./session.js";
import { pause } from "./waiting.js";

export type Message =
  | { readonly kind: "tokens"; readonly tokens: Tokens }
  | { readonly kind: "ended"; readonly reason: SessionEnd }
  | { readonly kind: "written"; readonly position: string };

const KINDS: ReadonlySet<unknown> = new Set<Message["kind"]>(["tokens", "ended", "written"]);
/** A tab that was frozen while it held the lock keeps it. The others do not wait for it for ever. */
const LONGEST_TURN_MS = 10_000;
/** A message may arrive after the lock that its sender has released. If none does, the other tab could not renew. */
const LATE_MESSAGE_MS = 2_000;

export interface Tabs {
  send(message: Message): void;
  /** Run while no other tab does; `late` resolves when the messages of the tab before have arrived. */
  inTurn<Value>(run: (late: () => Promise<void>) => Promise<Value>): Promise<Value>;
  close(): void;
}

/** `name` is null for a session that other tabs do not have. */
export function tabsOf(name: string | null, onMessage: (message: Message) => void): Tabs {
  const channel = name === null ? null : channelOf(`rollcall:${name}`);
  const locks = name && typeof navigator !== "undefined" ? navigator.locks : undefined;
  let heard = () => {};
  if (channel) {
    channel.onmessage = ({ data }: MessageEvent<Message>) => {
      if (!KINDS.has(data?.kind)) return; // a page of another version may be open beside this one
      onMessage(data);
      if (data.kind !== "written") heard();
    };
    (channel as { unref?: () => void }).unref?.(); // Node.js would not exit
  }
  const nothing = async () => {};
  return {
    send: (message) => channel?.postMessage(message),
    close: () => channel?.close(),
    inTurn: async (run) => {
      if (!locks) return run(nothing);
      const lock = `rollcall:${name}`;
      let began = false;
      const begin = (late: () => Promise<void>) => {
        began = true;
        return run(late);
      };
      try {
        const free = await locks.request(lock, { ifAvailable: true }, async (held) => (held ? { value: await begin(nothing) } : null));
        if (free) return free.value;
      } catch (error) {
        if (began) throw error;
        return run(nothing); // a browser that keeps nothing has no locks either
      }
      const message = new Promise<void>((resolve) => {
        heard = resolve;
      });
      const late = () => Promise.race([message, pause(LATE_MESSAGE_MS)]);
      const waiting = new AbortController();
      const limit = setTimeout(() => waiting.abort(), LONGEST_TURN_MS);
      try {
        return await locks.request(lock, { signal: waiting.signal }, () => {
          clearTimeout(limit);
          return begin(late);
        });
      } catch (error) {
        if (began || !waiting.signal.aborted) throw error;
        return run(late);
      } finally {
        clearTimeout(limit);
      }
    },
  };
}

/** Null where pages may tell each other nothing, as in a sandboxed frame. */
function channelOf(name: string): BroadcastChannel | null {
  try {
    return new BroadcastChannel(name);
  } catch {
    return null;
  }
}
