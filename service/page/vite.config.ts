import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// `npx vite` serves the page from source and passes everything else on to a service on the usual port.
const service = process.env.CHAINRULE_URL ?? "http://127.0.0.1:8400";
const paths = ["/v1", "/docs", "/openapi.json", "/readyz", "/healthz"];

export default defineConfig({
  plugins: [svelte()],
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2022", rolldownOptions: { checks: { pluginTimings: false } } },
  server: { proxy: Object.fromEntries(paths.map((path) => [path, service])) },
  test: { include: ["src/**/*.test.ts"] },
});
