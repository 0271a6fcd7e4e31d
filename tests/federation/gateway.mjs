// Apollo's gateway over Rollcall and a subgraph of orders. Prints its URL, then each request that it sends to a subgraph.
// Arguments: the URL of Rollcall, and the orders as JSON. The SDL of Rollcall's subgraph comes on standard input.
import { readFileSync } from "node:fs";
import { ApolloGateway, LocalGraphQLDataSource, RemoteGraphQLDataSource } from "@apollo/gateway";
import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";
import { buildSubgraphSchema } from "@apollo/subgraph";
import { parse } from "graphql";
import { compose } from "./compose.mjs";

const [url, given] = process.argv.slice(2);
const orders = JSON.parse(given);
const print = (line) => console.log(JSON.stringify(line));

const page = { hasNextPage: false, hasPreviousPage: false };
const schema = buildSubgraphSchema({
  typeDefs: parse(readFileSync(new URL("orders.graphql", import.meta.url), "utf8")),
  resolvers: {
    Query: { orders: () => ({ edges: orders.map((node) => ({ node })), pageInfo: page }) },
    User: {
      __resolveReference: ({ id }) => ({ id }),
      orders: ({ id }) => orders.filter((order) => order.buyer.id === id),
    },
  },
});

class Rollcall extends RemoteGraphQLDataSource {
  willSendRequest({ request, context }) {
    for (const [name, value] of Object.entries(context.passed ?? {})) {
      request.http.headers.set(name, value);
    }
    print({ query: request.query, representations: request.variables?.representations?.length ?? null });
  }
}

const { supergraphSdl, errors } = compose(readFileSync(0, "utf8"), url);
if (errors) {
  throw new Error(errors.map((error) => error.message).join("\n"));
}
const gateway = new ApolloGateway({
  supergraphSdl,
  buildService: ({ name }) => (name === "rollcall" ? new Rollcall({ url }) : new LocalGraphQLDataSource(schema)),
});
const server = new ApolloServer({ gateway });
const passed = ["authorization", "min-position"];
const started = await startStandaloneServer(server, {
  listen: { host: "127.0.0.1", port: 0 },
  context: async ({ req }) => ({
    passed: Object.fromEntries(passed.filter((name) => req.headers[name]).map((name) => [name, req.headers[name]])),
  }),
});
print({ url: started.url });
