// A frontend's subscriber: node subscriber.mjs ws|sse URL
//
// Standard input: lines of JSON with the token to use from now on and the position to start after.
// Standard output: one line of JSON per event.

import { createInterface } from "node:readline";
import { createClient as createEventsClient } from "graphql-sse";
import { createClient as createSocketClient } from "graphql-ws";
import WebSocket from "ws";

const [kind, url] = process.argv.slice(2);
const emit = (event) => console.log(JSON.stringify(event));
const soon = () => new Promise((resolve) => setTimeout(resolve, 50));

const variables = { after: null };
let token;

const clients = {
  ws: () =>
    createSocketClient({
      url: url.replace("http", "ws"),
      webSocketImpl: WebSocket,
      connectionParams: () => ({ authorization: `Bearer ${token}` }),
      retryAttempts: 1000,
      retryWait: soon,
      shouldRetry: () => true, // the port is closed while a server restarts
      on: { closed: ({ code }) => emit({ event: "closed", code }) },
    }),
  sse: () =>
    createEventsClient({
      url,
      headers: () => ({ authorization: `Bearer ${token}` }),
      retryAttempts: 1000,
      retry: async () => {
        emit({ event: "closed" });
        await soon();
      },
    }),
};

function subscribe() {
  clients[kind]().subscribe(
    { query: "subscription ($after: Position) { userChanges(after: $after) { position user { name } } }", variables },
    {
      next: ({ data, errors }) => {
        if (errors) return emit({ event: "errors", errors });
        variables.after = data.userChanges.position; // sent with the next reconnect
        emit({ event: "next", position: data.userChanges.position });
      },
      error: (error) => emit({ event: "error", error: String(error) }),
      complete: () => emit({ event: "complete" }),
    },
  );
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const input = JSON.parse(line);
  const first = token === undefined;
  token = input.token;
  if (first) {
    variables.after = input.after;
    subscribe();
  }
});
