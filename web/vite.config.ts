import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The development server passes the API on to `rollcall dev`.
const api = { target: process.env["ROLLCALL_URL"] ?? "http://127.0.0.1:8000", changeOrigin: true, ws: true };

const sourceOf = (module: string) => `${fileURLToPath(new URL("../clients/typescript/src", import.meta.url))}/${module}.ts`;

export default defineConfig({
  plugins: [react()],
  resolve: {
    // The pages are built of the package's sources. What these import is found here: one React for both.
    alias: [
      { find: /^@rollcall\/client$/, replacement: sourceOf("index") },
      { find: /^@rollcall\/client\/(\w+)$/, replacement: sourceOf("$1") },
    ],
    dedupe: ["@0no-co/graphql.web", "react"],
  },
  server: { proxy: { "/graphql": api, "/session": api, "/dev": api } },
  build: {
    outDir: "../graph/pages/assets",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy allows no inline code
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
});
