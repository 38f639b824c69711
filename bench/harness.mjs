// Comparing speeds on a machine that does other things too: all subjects take turns in many short slices, and each is
// judged by its best slice (the undisturbed core) and its median one. A subject is { name, fn } where fn(i) does the
// work once and returns a number, or { name, run } where run(count) does it `count` times and resolves to the
// nanoseconds that took, as other processes do. Times are nanoseconds a call, the empty loop (1–2 ns) included.

import benny from 'benny';

/** Each subject gets a loop of its own: calls from one place to many functions are slower than any real caller. */
function loopOf(fn) {
  const body = 'let sum = 0; for (let i = 0; i < count; i++) sum = (sum + fn(i)) | 0; return sum;';
  const loop = new Function('fn', 'count', body);
  return (count) => {
    const start = performance.now();
    loop(fn, count);
    return (performance.now() - start) * 1e6;
  };
}

/** How often a subject runs in a slice of `slice` ms. The doubling also warms it up. A sample that was interrupted
 *  would end it too early, and the clock itself would count: so the best of three. */
async function calibrate(run, slice) {
  for (let count = 1; ; count *= 4) {
    const ns = Math.min(await run(count), await run(count), await run(count));
    if (ns >= slice * 5e5 || count > 1e7)
      return Math.max(1, Math.round((count * slice * 1e6) / ns));
  }
}

/** Runs the subjects in turns. Resolves to a Map from name to { min, median } in nanoseconds. */
export async function race(subjects, { rounds = 31, slice = 0.3 } = {}) {
  const runs = subjects.map(({ name, fn, run }) => ({ name, run: run ?? loopOf(fn), times: [] }));
  for (const one of runs) one.count = await calibrate(one.run, slice);
  // Again: what the others did may have made the engine drop or replace code.
  for (const one of runs) one.count = await calibrate(one.run, slice);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < runs.length; i++) {
      const one = runs[(i + round) % runs.length];
      one.times.push((await one.run(one.count)) / one.count);
    }
  }
  return new Map(runs.map(({ name, times }) => [name, summary(times)]));
}

function summary(times) {
  times.sort((a, b) => a - b);
  return { min: times[0], median: times[times.length >> 1] };
}

/** How many times faster `name` is than `peer`: by the best slices, and by the median ones. */
export function ratio(times, name, peer) {
  const [a, b] = [times.get(name), times.get(peer)];
  return { min: b.min / a.min, median: b.median / a.median };
}

/** The same subjects as a benny suite, for its report; those that only know `run` are left out. */
export function bennySuite(title, subjects, { seconds = 0.5 } = {}) {
  const options = { minSamples: 5, maxTime: seconds };
  const cases = subjects
    .filter(({ fn }) => fn)
    .map(({ name, fn }) => benny.add(name, () => void fn(0), options));
  return benny.suite(title, ...cases, benny.cycle(), benny.complete());
}
