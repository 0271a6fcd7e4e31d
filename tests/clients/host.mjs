// Runs the client in Node.js or Deno as a test says: node host.mjs MODULE...
//
// Standard input: lines of JSON with an id and the body of an async function. Standard output: the lines of what they
// return. `state` is kept between them; `library` has what the modules export.
import { createInterface } from "node:readline";
import process from "node:process";

const library = {};
for (const path of process.argv.slice(2)) Object.assign(library, await import(path));
Object.assign(library, globalThis.library); // of a bundle
const state = {};
const AsyncFunction = (async () => {}).constructor;

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, code, given } = JSON.parse(line);
  try {
    const value = await new AsyncFunction("library", "state", "given", code)(library, state, given);
    console.log(JSON.stringify({ id, value: value ?? null }));
  } catch (error) {
    const { name, message, code: errorCode, retryAfter } = error;
    console.log(JSON.stringify({ id, error: { name, message, code: errorCode, retryAfter } }));
  }
});
