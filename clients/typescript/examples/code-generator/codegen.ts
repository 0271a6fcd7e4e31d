/** GraphQL Code Generator's client preset: documents of your own, with types, and a manifest of their hashes. */
import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../../../schema.graphql",
  documents: ["application.ts"],
  generates: {
    "./gql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false, persistedDocuments: { hashAlgorithm: "sha256" } },
      config: {
        documentMode: "string",
        useTypeImports: true,
        enumsAsTypes: true,
        scalars: { ID: "string", DateTime: "string", JSON: "unknown", Position: "string" },
      },
    },
  },
};

export default config;
