import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The development server passes the API on to `rollcall dev`.
const api = { target: process.env["ROLLCALL_URL"] ?? "http://127.0.0.1:8000", changeOrigin: true, ws: true };

export default defineConfig({
  plugins: [react()],
  server: { proxy: { "/graphql": api, "/session": api, "/dev": api } },
  build: {
    outDir: "../graph/pages/assets",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy allows no inline code
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
});
