// Names: create, stat, readdir and unlink of 10,000 empty files in one directory, against the kernel's ext4 on a loop
// mount of an image of the same geometry and npm ext2fs; and the cost of a create on the way to 1,000,000 entries.
// All subjects take turns, a directory each, and are judged by slices of 500 names. `--quick`: fewer rounds, 200,000.

import { finish } from './lib/report.mjs';
import { createLines, nameLines } from './lib/treelines.mjs';

const quick = process.argv.includes('--quick');
const only = process.argv.filter((arg) => arg.startsWith('--only=')).map((arg) => arg.slice(7));
const wanted = (name) => only.length === 0 || only.includes(name);

if (wanted('names')) await nameLines(quick);
if (wanted('million')) createLines(quick);
finish(`npm run bench -- ${quick ? '--quick ' : ''}tree`);
