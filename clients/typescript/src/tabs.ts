/**
 * What the tabs of one session do together: one of them at a time renews the session, and all learn of it.
 *
 * Web Locks and BroadcastChannel are used where they exist. Without them (a page that is not served by HTTPS, Node.js)
 * each client renews by itself; the server's grace for refresh tokens covers two that do so at the same moment.
 */
import type { Tokens } from "./keepers.js";
import { pause } from "./waiting.js";

export type Message =
  | { readonly kind: "tokens"; readonly tokens: Tokens }
  | { readonly kind: "ended" }
  | { readonly kind: "written"; readonly position: string };

/** A tab that was frozen while it held the lock keeps it. The others do not wait for it for ever. */
const LONGEST_TURN_MS = 10_000;
/** A message may arrive a little after the lock that its sender has released. */
const LATE_MESSAGE_MS = 250;

export interface Tabs {
  send(message: Message): void;
  /** Run while no other tab does; `late` resolves when the messages of the tab before have arrived. */
  inTurn<Value>(run: (late: () => Promise<void>) => Promise<Value>): Promise<Value>;
  close(): void;
}

/** `name` is null for a session that other tabs do not have. */
export function tabsOf(name: string | null, onMessage: (message: Message) => void): Tabs {
  const channel = name && typeof BroadcastChannel !== "undefined" ? new BroadcastChannel(`rollcall:${name}`) : null;
  const locks = name && typeof navigator !== "undefined" ? navigator.locks : undefined;
  let heard = () => {};
  if (channel) {
    channel.onmessage = ({ data }: MessageEvent<Message>) => {
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
      const free = await locks.request(lock, { ifAvailable: true }, async (held) => (held ? { value: await run(nothing) } : null));
      if (free) return free.value;
      const message = new Promise<void>((resolve) => {
        heard = resolve;
      });
      const late = () => Promise.race([message, pause(LATE_MESSAGE_MS)]);
      const waiting = new AbortController();
      const limit = setTimeout(() => waiting.abort(), LONGEST_TURN_MS);
      let began = false;
      try {
        return await locks.request(lock, { signal: waiting.signal }, () => {
          began = true;
          clearTimeout(limit);
          return run(late);
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
