// Writing against its peers: the image file written raw with fsync, npm ext2fs, and our own bufferhead path; then the
// whole table of the kernel series (hole, cached and cold read; cached, overwritten, fsynced and written-back writes,
// by 1 KiB, 4 KiB, 64 KiB and 1 MiB), iomap beside bufferhead beside a raw file, with mappings counted and the series'
// own gains printed. Every line comes from one run with all its subjects in turn. `--quick`: fewer rounds.

import { finish } from './lib/report.mjs';
import { gridLines } from './lib/writegrid.mjs';
import { sequentialWriteLines } from './lib/writesequential.mjs';
import { sparseLines } from './lib/writesparse.mjs';

const quick = process.argv.includes('--quick');
const only = process.argv.filter((arg) => arg.startsWith('--only=')).map((arg) => arg.slice(7));
const wanted = (name) => only.length === 0 || only.includes(name);

if (wanted('sequential')) await sequentialWriteLines({ quick });
if (wanted('grid')) gridLines({ quick });
if (wanted('sparse')) sparseLines();
finish(`npm run bench -- ${quick ? '--quick ' : ''}write`);
