// Reading against its peers: raw fs.readSync of the image file, the kernel's ext4 on the same image, one
// Uint8Array.set out of the same memory, and npm ext2fs. Every line comes from one run with all its subjects in turn.
// `--quick`: fewer rounds, smaller parts of files for the slow peer, no benny report.

import { ext2fsLines } from './lib/ext2fslines.mjs';
import { readImage } from './lib/image.mjs';
import { otherLines } from './lib/otherlines.mjs';
import { kernelMount } from './lib/peers.mjs';
import { randomLines } from './lib/randomlines.mjs';
import { finish } from './lib/report.mjs';
import { sequentialLines } from './lib/sequentiallines.mjs';

const quick = process.argv.includes('--quick');
const only = process.argv.filter((arg) => arg.startsWith('--only=')).map((arg) => arg.slice(7));
const wanted = (name) => only.length === 0 || only.includes(name);

const image = readImage();
const kernel = kernelMount(image);
if (wanted('sequential')) await sequentialLines({ image, kernel, quick });
if (wanted('random')) await randomLines({ image, kernel, quick });
if (wanted('ext2fs')) await ext2fsLines({ image, quick });
if (wanted('other')) await otherLines({ image, kernel, quick });
finish(`npm run bench -- ${quick ? '--quick ' : ''}read`);
