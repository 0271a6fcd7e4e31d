import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: ["../schema.graphql", ...(process.env["MORE_SCHEMA"] ? [process.env["MORE_SCHEMA"]] : [])],
  documents: ["src/**/*.{ts,tsx}", "!src/gql/**"],
  generates: {
    "./src/gql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: {
        useTypeImports: true,
        enumsAsTypes: true,
        scalars: { DateTime: "string", JSON: "unknown", Position: "string" },
        documentMode: "string",
      },
    },
  },
};

export default config;
