// Directories written anew.

import type { Flow } from '../flow.ts';
import type { Volume } from './volume.ts';

export function* makeRoot(_vol: Volume): Flow<void> {}
