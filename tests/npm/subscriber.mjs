// A subscriber as frontends have one: node subscriber.mjs ws|sse URL
//
// Standard input: one line of JSON with the token to use from now on, and from which position to begin. Standard output:
// one line of JSON for each thing that happens.

import { createInterface } from "node:readline";
import { createClient as createEventsClient } from "graphql-sse";
import { createClient as createSocketClient } from "graphql-ws";
import WebSocket from "ws";

const [kind, url] = process.argv.slice(2);
const say = (happened) => console.log(JSON.stringify(happened));
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
      shouldRetry: () => true, // the port is closed for a moment while a server starts again
      on: { closed: ({ code }) => say({ happened: "closed", code }) },
    }),
  sse: () =>
    createEventsClient({
      url,
      headers: () => ({ authorization: `Bearer ${token}` }),
      retryAttempts: 1000,
      retry: async () => {
        say({ happened: "closed" });
        await soon();
      },
    }),
};

function subscribe() {
  clients[kind]().subscribe(
    { query: "subscription ($after: Position) { userChanges(after: $after) { position user { name } } }", variables },
    {
      next: ({ data, errors }) => {
        if (errors) return say({ happened: "errors", errors });
        variables.after = data.userChanges.position; // sent from here on when it connects again
        say({ happened: "next", position: data.userChanges.position });
      },
      error: (error) => say({ happened: "error", error: String(error) }),
      complete: () => say({ happened: "complete" }),
    },
  );
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const given = JSON.parse(line);
  const begins = token === undefined;
  token = given.token;
  if (begins) {
    variables.after = given.after;
    subscribe();
  }
});
