// Compresses what was built, and writes its checksums and the licences of what it contains.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const out = "../graph/pages/assets";
const files = () =>
  readdirSync(out, { recursive: true })
    .map((name) => join(out, name))
    .filter((path) => statSync(path).isFile())
    .sort();

for (const path of files()) {
  if (!/\.(js|css|svg|html)$/.test(path)) continue;
  const content = readFileSync(path);
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
  const options = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
  writeFileSync(`${path}.br`, brotliCompressSync(content, options));
}

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
const licences = [];
for (const [path, { dev, version }] of Object.entries(lock.packages)) {
  if (!path || dev) continue;
  const name = readdirSync(path).find((file) => /^(licen[cs]e|copying)(\.|$)/i.test(file));
  const { license } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
  const text = name ? readFileSync(join(path, name), "utf8").trim() : `Licensed under ${license}.`;
  licences.push(`${path.replace(/^.*node_modules\//, "")} ${version} (${license})\n\n${text}\n`);
}
writeFileSync("../graph/pages/LICENSES.txt", licences.join(`\n${"-".repeat(79)}\n\n`));

const sum = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const lines = files().map((path) => `${sum(path)}  assets/${relative(out, path)}\n`);
writeFileSync("../graph/pages/SHA256SUMS", lines.join(""));
