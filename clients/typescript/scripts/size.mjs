// The size of an application that imports an entry of the package and nothing else: bundled, minified and compressed.
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const ENTRIES = {
  "@rollcall/client": 'export { createClient, inMemory } from "./dist/index.js";',
  "@rollcall/client, everything of it": 'export * from "./dist/index.js";',
  "@rollcall/client/react (without React)": 'export * from "./dist/react.js";',
};
for (const [name, contents] of Object.entries(ENTRIES)) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: "." },
    bundle: true,
    minify: true,
    format: "esm",
    external: ["react", "react/jsx-runtime"],
    write: false,
  });
  const [{ contents: code }] = outputFiles;
  const size = { name, minified: code.length, gzip: gzipSync(code, { level: 9 }).length, brotli: brotliCompressSync(code).length };
  console.log(JSON.stringify(size));
}
