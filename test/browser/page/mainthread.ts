// What a page does without a worker: a File, an OPFS file without synchronous access handles, an image in memory.

import { mount, mountSync } from 'ext4-wasm';
import { blobDevice } from 'ext4-wasm/blob';
import { memoryDevice } from 'ext4-wasm/memory';
import { opfsDevice } from 'ext4-wasm/opfs';
import { checkApi, checkUnmount } from './api.ts';
import { type Check, equal, truthy } from './report.ts';
import { copyToOpfs, knownOf, removeFromOpfs, type Setting } from './setting.ts';
import { callsOf, checkTree } from './tree.ts';

export async function checkPage(check: Check, { files, manifests }: Setting): Promise<void> {
  const fs = await mount(blobDevice(files['fs.img']));
  await checkTree(check, callsOf(fs, 'promises'), manifests.main);
  await checkApi(check, fs, knownOf(manifests));
  await checkUnmount(check, fs);
  await check('OPFS without synchronous access handles', async () => {
    const device = await opfsDevice(await copyToOpfs(files['fs.img'], 'page.img'));
    truthy(device.readSync === undefined, 'asynchronous');
    const mounted = await mount(device, { ro: true });
    equal(await mounted.promises.readFile('/README.txt', 'utf8'), knownOf(manifests).readme);
    await mounted.unmount();
    await device.close();
    await removeFromOpfs('page.img');
  });
  await check('an image in memory, synchronous on the main thread', async () => {
    const device = memoryDevice(
      new Uint8Array(await files['disk.img'].arrayBuffer()).subarray(2048 * 512),
    );
    const mounted = mountSync(device, { ro: true });
    equal(mounted.readFileSync('/hello.txt', 'utf8'), 'from the second partition\n');
    mounted.unmountSync();
  });
}
