// Compresses what was built, and writes its checksums and the licences of what it contains.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const out = "../graph/pages/assets";
const walk = (directory) =>
  readdirSync(directory, { recursive: true })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());

for (const path of walk(out)) {
  if (!/\.(js|css|svg|html)$/.test(path)) continue;
  const content = readFileSync(path);
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
  const options = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
  writeFileSync(`${path}.br`, brotliCompressSync(content, options));
}

// Packages of one project repeat its licence word for word: each text is printed once, under all their names.
const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
const licences = new Map();
for (const [path, { dev, version }] of Object.entries(lock.packages)) {
  if (!path || dev) continue;
  const name = readdirSync(path).find((file) => /^(licen[cs]e|copying)(\.|$)/i.test(file));
  const { license } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
  const text = name
    ? readFileSync(join(path, name), "utf8").replaceAll("\r\n", "\n").trim()
    : `Its package holds no licence text; package.json says: ${license}`;
  licences.set(text, [...(licences.get(text) ?? []), `${path.replace(/^.*node_modules\//, "")}@${version}`]);
}
const sections = [...licences].map(([text, names]) => `${names.sort().join("\n")}\n\n${text}`).sort();
writeFileSync("../graph/pages/LICENSES.txt", `${sections.join(`\n\n${"-".repeat(80)}\n\n`)}\n`);

// Of the sources too: a test notices when they have changed and nothing was built.
const sources = ["codegen.ts", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts", "../auth/common_passwords.txt"];
const under = (directory) => walk(directory).filter((path) => !path.startsWith(join("src", "gql")));
const listed = [out, ...["public", "scripts", "src", "../clients/typescript/src"]].flatMap(under).concat(sources, "../graph/pages/LICENSES.txt");
const sum = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const lines = listed.map((path) => `${sum(path)}  ${relative("..", path)}\n`).sort((one, other) => (one.slice(66) < other.slice(66) ? -1 : 1));
writeFileSync("../graph/pages/SHA256SUMS", lines.join(""));
