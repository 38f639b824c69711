// How the tests run: two workers (the suite is made for two cores), one process a file so that a wasm memory or a
// mount of one suite never weighs on the next, results also as JSON for the CI script.

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    watch: false,
    pool: 'forks',
    maxWorkers: 2,
    maxConcurrency: 2,
    testTimeout: 60_000,
    hookTimeout: 180_000,
    teardownTimeout: 10_000,
    passWithNoTests: false,
    reporters: ['default', 'json'],
    chaiConfig: { truncateThreshold: 4000 },
    outputFile: { json: process.env.TEST_RESULTS ?? 'build/test-results.json' },
  },
});
