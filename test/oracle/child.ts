// One image in one process: mounts it, walks it whole, reports by IPC the state or the error, the processor time
// and the peak of resident memory. Bundled by child-process.ts; the parent ends it, also when it hangs.

import { readFileSync } from 'node:fs';
import { openFile } from '../../ts/block/node.ts';
import type { Ext4Error } from '../../ts/errno.ts';
import { mount, mountSync } from '../../ts/index.ts';
import type { Job, Outcome } from './child-process.ts';
import { codeOf, dumpTree, promiseFace, type State, syncFace } from './state.ts';

process.on('message', (job: Job) => {
  run(job).then((outcome) => process.send!(outcome));
});

async function run(job: Job): Promise<Outcome> {
  const before = process.cpuUsage();
  const outcome: Outcome = { cpuMs: 0, peakMiB: 0 };
  try {
    outcome.state = await walk(job);
  } catch (error) {
    describeError(outcome, error);
  }
  const { user, system } = process.cpuUsage(before);
  outcome.cpuMs = (user + system) / 1000;
  outcome.peakMiB = peakKiB() / 1024;
  return outcome;
}

/** The peak of this process alone: getrusage's would count the parent's from before exec. */
function peakKiB(): number {
  const status = readFileSync('/proc/self/status', 'latin1');
  return Number(/VmHWM:\s+(\d+)/.exec(status)![1]);
}

async function walk(job: Job): Promise<State> {
  const device = openFile(job.image, { readOnly: job.readOnly });
  const options = { ro: true, ...job.options };
  if (job.face === 'promise') {
    const fs = await mount(device, options);
    const state = await dumpTree(promiseFace(fs), job.dump);
    await fs.unmount();
    await device.close();
    return state;
  }
  const fs = mountSync(device, options);
  const state = await dumpTree(syncFace(fs), job.dump);
  fs.unmountSync();
  device.closeSync!();
  return state;
}

function describeError(outcome: Outcome, error: unknown): void {
  try {
    outcome.code = codeOf(error);
    const e = error as Ext4Error;
    outcome.message = e.message;
    outcome.detail = e.detail;
  } catch (bug) {
    outcome.bug = bug instanceof Error ? (bug.stack ?? bug.message) : String(bug);
  }
}
