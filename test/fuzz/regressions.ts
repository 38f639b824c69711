// Cases that the fuzzer once found, by name: a seed image of the oracles and what was changed in it.

import type { Recipe } from './child.ts';

export const REGRESSIONS: Record<string, Recipe> = {};
