// Runs graphql-http's audits of a server and prints their results as a JSON array.
import { auditServer } from "graphql-http";

const results = await auditServer({ url: process.argv[2] });
const audits = await Promise.all(
  results.map(async (result) => {
    const { id, name, status, reason } = result;
    return { id, name, status, reason, answered: result.response?.status };
  }),
);
console.log(JSON.stringify(audits));
