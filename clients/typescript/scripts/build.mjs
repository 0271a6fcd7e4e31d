// Makes dist: a module of each source, with its types.
import { copyFileSync, rmSync } from "node:fs";
import { execFileSync } from "node:child_process";

rmSync("dist", { recursive: true, force: true });
execFileSync(process.execPath, ["node_modules/typescript/bin/tsc"], { stdio: "inherit" });
copyFileSync("src/generated/documents.json", "dist/generated/documents.json");
copyFileSync("../../LICENSE", "LICENSE"); // npm packs it
