// Writes past the cache: O_DIRECT, and long streams that the cache would not keep. Goal: what lies behind the old
// end on the disk is never seen, cached and direct data meet as one file, and what fsync acknowledged is there.
// Method: polluted ends, power cuts, the kernel's reading.

import { expect } from 'vitest';
import { commit } from '../../ts/flow.ts';
import { need } from '../need.ts';
import { CUT, NAMES } from './kinds.ts';
import { crashScenario, NEEDS, scenario } from './scenario.ts';
import { A, B, FOUL, made, O_CREAT, type Subject, same } from './subject.ts';

const DIRECT = 0o40000;
const END = 2000;

function polluted(s: Subject): void {
  s.write(0, END, A);
  s.fsync();
  s.pollute(END, Math.ceil(END / s.block) * s.block);
}

need.describe('direct writes', NEEDS, () => {
  scenario('5. polluted tail, O_DIRECT append of the next block', NAMES, (s) => {
    polluted(s);
    const next = Math.ceil(END / s.block) * s.block;
    const fd = s.fs.openSync('/f' as never, DIRECT | 2);
    expect(s.run(s.fs.data.write(fd, new Uint8Array(8192).fill(B), next))).toBe(8192);
    s.run(s.fs.close(fd));
    const want = made([END, A], [next - END, 0], [8192, B]);
    same(s.read(), want, `${s.name}: at once`);
    s.remount();
    same(s.read(), want, `${s.name}: remounted`);
  });

  crashScenario('5. polluted tail, O_DIRECT append, a cut at any moment', CUT, (c) => {
    polluted(c.subject);
    const next = Math.ceil(END / c.subject.block) * c.subject.block;
    c.begin();
    const flags = { fd: 0 };
    c.op((s) => {
      flags.fd = s.fs.openSync('/f' as never, DIRECT | 2);
      s.run(s.fs.data.write(flags.fd, new Uint8Array(8192).fill(B), next));
    });
    c.op((s) => s.run(commit()));
    c.fsync();
    c.op((s) => s.run(s.fs.close(flags.fd)));
    return undefined;
  });

  scenario(
    'H2. direct and cached writes are one file',
    NAMES,
    (s) => {
      s.write(0, 50_000, A);
      s.write(20_480, 8192, B);
      s.put(24_576, made([8192, 0x63])); // the descriptor is direct: whole blocks
      s.write(100, 50, 0x64); // and parts of one
      const want = made([50_000, A]);
      want.fill(B, 20_480, 28_672).fill(0x63, 24_576, 32_768).fill(0x64, 100, 150);
      same(s.read(), want, s.name);
      s.remount();
      same(s.read(), want, s.name);
    },
    { flags: O_CREAT | DIRECT },
  );

  crashScenario(
    'a long stream past the cache never shows what lay behind a dirty end',
    ['iomap 1k', 'iomap 4k'],
    (c) => {
      const s = c.subject;
      const { block } = s;
      // A stream longer than may be dirty, so that large writes go past the cache; it ends within a block.
      const piece = 1 << 18;
      let at = 0;
      for (; at < 17 * piece; at += piece) s.write(at, piece, A);
      s.trunc(8192);
      s.write(0, 1, A);
      for (let to = 0; to < 17 * piece; to += piece) s.write(to, piece, A);
      at = 17 * piece;
      s.write(at, 100, A);
      s.fsync();
      s.writeRaw(s.place(at + 100), new Uint8Array(block - 100).fill(FOUL));
      c.begin();
      c.op(() => s.write(at + 100, block - 100, B)); // up to the end of the block: dirty
      c.op(() => s.write(at + block, piece, 0x63)); // past the cache
      c.op(() => s.run(commit()));
      c.fsync();
      return undefined;
    },
  );
});
