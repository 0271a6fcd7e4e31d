// Bundles GraphiQL into ../assets, gathers the licences of what went in, and lists the checksums.
// `npm ci && npm run build` in this directory gives the same bytes anywhere.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build } from "esbuild";

const SOURCES = [
  "LICENSES-OPENING.txt",
  "build.mjs",
  "main.css",
  "main.js",
  "package-lock.json",
  "package.json",
  "welcome.graphql",
];

process.chdir(import.meta.dirname);
const { metafile } = await build({
  entryPoints: { graphiql: "main.js" },
  outdir: "../assets",
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  loader: { ".graphql": "text" },
  // LICENSES.txt says it instead, of every package and not only of those with a comment.
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [{ name: "graphql-in-production", setup: graphqlInProduction }],
  metafile: true,
});
writeFileSync("../LICENSES.txt", licences(packagesOf(metafile)));
writeFileSync("../SHA256SUMS", checksums());

// What graphql-js does in production anyway. It asks at run time whether it is there, by a global that browsers
// lack, so that the bundle would carry, and run, its slower check for developers of Node programs.
function graphqlInProduction({ onLoad }) {
  onLoad({ filter: /graphql\/jsutils\/instanceOf\.m?js$/ }, () => ({
    contents: "export const instanceOf = (value, constructor) => value instanceof constructor;",
  }));
}

function packagesOf({ inputs }) {
  const directories = Object.keys(inputs).flatMap((path) => path.match(/.*node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? []);
  return [...new Set(directories)].map((directory) => ({
    ...JSON.parse(readFileSync(join(directory, "package.json"), "utf8")),
    text: licenceText(directory),
  }));
}

function licenceText(directory) {
  const file = readdirSync(directory).find((name) => /^licen[cs]e/i.test(name));
  return file ? readFileSync(join(directory, file), "utf8").replaceAll("\r\n", "\n").trim() : "";
}

// Packages of one project repeat its licence word for word: each text is printed once, under all their names.
function licences(packages) {
  const names = new Map();
  for (const { name, version, license, text } of packages) {
    const body = text || `Its package holds no licence text; package.json says: ${license}`;
    names.set(body, [...(names.get(body) ?? []), `${name}@${version}`].sort());
  }
  const sections = [...names].map(([body, of]) => [[...new Set(of)].join("\n"), body]).sort();
  return [readFileSync("LICENSES-OPENING.txt", "utf8").trim(), ...sections.map((section) => section.join("\n\n"))].join(
    `\n\n${"-".repeat(80)}\n\n`,
  ) + "\n";
}

function checksums() {
  const files = ["LICENSES.txt", "assets/graphiql.css", "assets/graphiql.js", ...SOURCES.map((name) => `src/${name}`)];
  return files.map((file) => `${createHash("sha256").update(readFileSync(join("..", file))).digest("hex")}  ${file}\n`).join("");
}
