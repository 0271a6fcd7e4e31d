// Runs graphql-http's audits of a server and prints one JSON object: how each ended, by its id.
import { auditServer } from "graphql-http";

const results = await auditServer({ url: process.argv[2] });
const told = await Promise.all(
  results.map(async (result) => {
    const { id, name, status, reason } = result;
    return { id, name, status, reason, answered: result.response?.status };
  }),
);
console.log(JSON.stringify(told));
