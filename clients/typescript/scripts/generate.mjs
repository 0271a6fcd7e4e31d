// Makes src/generated from ../../schema.graphql and operations.graphql. With --check: exits 1 if that is not up to date.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { generate } from "@graphql-codegen/cli";
import { buildSchema, isInputObjectType, parse } from "graphql";

const SCHEMA = "../../schema.graphql";
const OUT = "src/generated/";
const schema = buildSchema(readFileSync(SCHEMA, "utf8"));
const operations = parse(readFileSync("operations.graphql", "utf8")).definitions.filter(
  ({ kind }) => kind === "OperationDefinition",
);

const covered = new Set(operations.flatMap(({ selectionSet }) => selectionSet.selections.map(({ name }) => name.value)));
const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
const missing = roots.flatMap((type) => Object.keys(type.getFields())).filter((name) => !covered.has(name));
if (missing.length) throw new Error(`operations.graphql has no operation for: ${missing.join(", ")}`);

const made = await generate(
  {
    schema: SCHEMA,
    documents: ["operations.graphql"],
    silent: true,
    generates: {
      [OUT]: {
        preset: "client",
        presetConfig: { fragmentMasking: false, persistedDocuments: { hashAlgorithm: "sha256" } },
        config: {
          useTypeImports: true,
          enumsAsTypes: true,
          scalars: { ID: "string", DateTime: "string", JSON: "unknown", Position: "string" },
          documentMode: "string",
        },
      },
    },
  },
  false,
);
const content = (end) => made.find(({ filename }) => filename.endsWith(end)).content;

// The generated module depends on nothing, and an application's bundle holds only the documents that it imports.
const documents = content("/graphql.ts")
  .replace(/^import type \{ DocumentTypeDecoration \}.*$/m, 'import type { Typed } from "../documents.js";')
  .replaceAll("DocumentTypeDecoration", "Typed")
  .replaceAll("= new TypedDocumentString(", "= /* @__PURE__ */ new TypedDocumentString(")
  .replaceAll(/ as unknown as TypedDocumentString</g, " as TypedDocumentString<");
const keyed = Object.values(schema.getTypeMap())
  .filter((type) => isInputObjectType(type) && "idempotencyKey" in type.getFields())
  .map(({ name }) => `  "${name}",\n`);
const files = {
  "operations.ts": documents,
  "keyed.ts": `/** Inputs that have a field \`idempotencyKey\`. */\nexport const KEYED_INPUTS: ReadonlySet<string> = /* @__PURE__ */ new Set([\n${keyed.join("")}]);\n`,
  "documents.json": `${JSON.stringify(JSON.parse(content("persisted-documents.json")), null, 1)}\n`,
};

if (process.argv.includes("--check")) {
  const old = Object.keys(files).filter((name) => readFileSync(OUT + name, "utf8") !== files[name]);
  if (old.length) {
    console.error(`not up to date, run \`npm run generate\`: ${old.map((name) => OUT + name).join(", ")}`);
    process.exit(1);
  }
} else {
  mkdirSync(OUT, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(OUT + name, text);
}
