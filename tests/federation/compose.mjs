// Composes the subgraph on standard input with `orders.graphql`, and prints the supergraph's SDL or the errors as JSON.
import { readFileSync } from "node:fs";
import { composeServices } from "@apollo/composition";
import { buildSubgraphSchema } from "@apollo/subgraph";
import { parse } from "graphql";

export const compose = (sdl, url) => {
  const orders = readFileSync(new URL("orders.graphql", import.meta.url), "utf8");
  return composeServices([
    { name: "rollcall", url, typeDefs: parse(sdl) },
    { name: "orders", url: "http://orders.invalid", typeDefs: parse(orders) },
  ]);
};

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const sdl = readFileSync(0, "utf8");
  const { supergraphSdl, errors, hints } = compose(sdl, "http://rollcall.invalid/graphql");
  const built = errors ? [] : Object.keys(buildSubgraphSchema(parse(sdl)).getQueryType().getFields());
  const messages = (errors ?? []).map((error) => error.message);
  console.log(JSON.stringify({ supergraphSdl, errors: messages, hints: hints?.map((hint) => hint.message), built }));
}
