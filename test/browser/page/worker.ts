// The worker: runs the groups in turn and posts each result to its page. A view's memory is handed to the page's
// thread, which must read the same bytes in it (shared memory), or cannot be handed over (plain memory).

import { type Dirent, type Ext4, mountSync } from 'ext4-wasm';
import { opfsDevice } from 'ext4-wasm/opfs';
import { GROUPS, type Group } from './groups.ts';
import { type Check, checker, equal, sha256, thrown } from './report.ts';
import { copyToOpfs, type FromWorker, removeFromOpfs, type Setting } from './setting.ts';
import { measure } from './speed.ts';

const post = (message: FromWorker, transfer: Transferable[] = []) =>
  postMessage(message, { transfer });

addEventListener('message', ({ data }: MessageEvent<Setting>) => {
  main(data).finally(() => post({ kind: 'done' }));
});

async function main(setting: Setting): Promise<void> {
  const all = { ...GROUPS, threads, speed };
  for (const [name, group] of Object.entries(all)) await runGroup(name, group, setting);
}

/** A group that cannot go on is a failed check of its own. */
async function runGroup(name: string, group: Group, setting: Setting): Promise<void> {
  const check = checker(name, (result) => post({ kind: 'result', result }));
  try {
    await group(check, setting);
  } catch (error) {
    await check('runs to its end', () => {
      throw error;
    });
  }
}

async function threads(check: Check, { files, isolated }: Setting): Promise<void> {
  const device = await opfsDevice(await copyToOpfs(files['fs.img'], 'threads.img'));
  const fs = mountSync(device, { ro: true });
  post({ kind: 'tree', lines: draw(fs, new Uint8Array([0x2f]), '') });
  await check('a view is read by another thread, or cannot be handed over', async () => {
    const view = fs.viewSync('/big.bin', 4096, 65536);
    const { memory, ptrs } = view;
    const { port1, port2 } = new MessageChannel();
    const give = () =>
      post({ kind: 'view', memory, ptr: ptrs[0], len: view.length, port: port2 }, [port2]);
    if (isolated) {
      const answer = new Promise((resolve) => {
        port1.onmessage = ({ data }) => resolve(data);
      });
      give();
      equal(await answer, await sha256(view.copy()));
    } else equal((await thrown(give)).name, 'DataCloneError');
    view.release();
    return isolated ? 'read there' : 'plain memory stays here';
  });
  await fs.unmount();
  await device.close();
  await removeFromOpfs('threads.img');
}

/** The tree, without its large directory. Names stay bytes on the way: some are not UTF-8. */
function draw(fs: Ext4, dir: Uint8Array, indent: string): string[] {
  const names = fs.readdirSync(dir as Buffer, { withFileTypes: true, encoding: 'buffer' });
  return (names as unknown as (Dirent & { name: Uint8Array })[]).flatMap((entry) => {
    const path = new Uint8Array([...dir, 0x2f, ...entry.name]) as Buffer;
    const text = new TextDecoder().decode(entry.name);
    const name = text.length > 60 ? `${text.slice(0, 57)}…` : text;
    if (entry.isSymbolicLink()) return [`${indent}${name} → ${fs.readlinkSync(path)}`];
    if (!entry.isDirectory()) return [`${indent}${name}  ${fs.lstatSync(path).size}`];
    const below = text === 'many' ? [`${indent}  … 700 files`] : draw(fs, path, `${indent}  `);
    return [`${indent}${name}/`, ...below];
  });
}

async function speed(check: Check, setting: Setting): Promise<void> {
  await check('was measured', async () => {
    post({ kind: 'speed', rows: await measure(setting) });
  });
}
