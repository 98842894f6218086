import { defineConfig } from "vitest/config";

// The host's own modules: one copy of React, of the router and of the theme for Airflow and its plugins.
const HOST: Record<string, string> = {
  react: "React",
  "react-dom": "ReactDOM",
  "react/jsx-runtime": "ReactJSXRuntime",
  "react-router-dom": "ReactRouterDOM",
  "@chakra-ui/react": "ChakraUI",
  "@emotion/react": "EmotionReact",
};

export default defineConfig({
  publicDir: "public",
  build: {
    outDir: "../src/edge_provider/ui/static",
    emptyOutDir: true,
    target: "es2022",
    lib: {
      entry: "src/main.ts",
      formats: ["iife"],
      name: "AirflowEdge",
    },
    rollupOptions: {
      external: Object.keys(HOST),
      output: {
        globals: HOST,
        // The name ends in .js, which every server knows; the hash lets browsers keep the file forever.
        entryFileNames: "edge-[hash].js",
      },
    },
  },
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  test: {
    environment: "jsdom",
    include: ["tests/**/*.test.tsx", "tests/**/*.test.ts"],
    restoreMocks: true,
    testTimeout: 20000,
  },
});
