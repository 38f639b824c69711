// The groups of checks that run in the worker: one a device, or one a thing that can go wrong.

import { type BlockDevice, Ext4Error, mount, mountSync, partition, partitions } from 'ext4-wasm';
import { blobDevice } from 'ext4-wasm/blob';
import { httpDevice } from 'ext4-wasm/http';
import { memoryDevice } from 'ext4-wasm/memory';
import { opfsDevice } from 'ext4-wasm/opfs';
import { checkApi, checkUnmount, isShared } from './api.ts';
import { type Check, equal, fails, sha256, sharedCopy, thrown, truthy } from './report.ts';
import { copyToOpfs, knownOf, removeFromOpfs, type Setting } from './setting.ts';
import { callsOf, checkTree } from './tree.ts';

export type Group = (check: Check, setting: Setting) => Promise<void>;

/** A File, asynchronous. */
const file: Group = async (check, { files, manifests, isolated }) => {
  const fs = await mount(blobDevice(files['fs.img']));
  await checkTree(check, callsOf(fs, 'promises'), manifests.main);
  await checkApi(check, fs, knownOf(manifests));
  await check('synchronous calls say why they cannot be', async () => {
    const error = await fails('EOPNOTSUPP', () => fs.readFileSync('/tiny'));
    truthy(/asynchronous/.test(error.message), error.message);
  });
  await check('the memory is shared where the page is isolated', async () => {
    const view = await fs.promises.view('/big.bin', 0, 4096);
    equal([globalThis.crossOriginIsolated, isShared(view)], [isolated, isolated]);
    view.release();
  });
  await checkUnmount(check, fs);
};

/** An OPFS file under a synchronous access handle, mounted by mountSync. */
const opfs: Group = async (check, { files, manifests }) => {
  const handle = await copyToOpfs(files['fs.img'], 'sync.img');
  const device = await opfsDevice(handle);
  const fs = mountSync(device, { ro: true });
  await checkTree(check, callsOf(fs, 'sync'), manifests.main);
  await check('synchronous reads, views and texts', () => {
    equal(fs.readFileSync('/links/relative', 'utf8'), knownOf(manifests).readme);
    const fd = fs.openSync('/big.bin', 'r');
    const into = new Uint8Array(5000);
    equal(fs.readSync(fd, into, 0, 5000, 4000), 5000);
    const many = sharedCopy(new Uint8Array(9 << 20));
    equal(fs.readSync(fd, many, 0, many.length, 4000), many.length);
    equal(many.subarray(0, 5000), into);
    const view = fs.viewSync(fd, 4000, 5000);
    equal(view.copy(), into);
    view.release();
    fs.closeSync(fd);
    equal(fs.existsSync('/nowhere'), false);
  });
  await checkApi(check, fs, knownOf(manifests));
  await check('a file that is open elsewhere: EBUSY', () =>
    fails('EBUSY', () => opfsDevice(handle)),
  );
  await checkUnmount(check, fs);
  await device.close();
  await removeFromOpfs('sync.img');
};

/** The same file, the mount asynchronous, the device read-only. */
const opfsAsync: Group = async (check, { files, manifests }) => {
  const handle = await copyToOpfs(files['fs.img'], 'async.img');
  const device = await opfsDevice(handle, { readOnly: true });
  const fs = await mount(device);
  await checkTree(check, callsOf(fs, 'promises'), manifests.main);
  await checkUnmount(check, fs);
  await device.close();
  await removeFromOpfs('async.img');
};

/** A file on a web server. */
const http: Group = async (check, { manifests, origin, elsewhere }) => {
  const device = await httpDevice(`${origin}/images/fs.img`);
  const fs = await mount(device);
  await check('one file by a few requests', async () => {
    equal(await fs.promises.readFile('/many/file-0042', 'utf8'), 'number 42\n');
    const { requests, bytes } = device.counts;
    truthy(requests <= 12 && bytes <= 2 << 20, `${requests} requests, ${bytes} bytes`);
    return `${requests} requests, ${(bytes / 1024).toFixed(0)} KiB`;
  });
  await checkTree(check, callsOf(fs, 'promises'), manifests.main);
  await checkUnmount(check, fs);
  await check('another origin that exposes Content-Range', async () => {
    const far = await mount(await httpDevice(`${elsewhere}/cors/fs.img`));
    equal(await far.promises.readFile('/tiny', 'utf8'), 'lies in its inode');
    await far.unmount();
  });
  await check('a server that cannot serve it: errors say why', async () => {
    await fails('ENOENT', () => httpDevice(`${origin}/images/none.img`));
    const whole = await fails('ENOTSUP', () => httpDevice(`${origin}/whole/fs.img`));
    truthy(/ranges/.test(whole.message), whole.message);
    const hidden = await fails('ENOTSUP', () => httpDevice(`${elsewhere}/cors-hidden/fs.img`));
    truthy(/expose/.test(hidden.message), hidden.message);
    await fails('EIO', () => httpDevice(`${elsewhere}/images/fs.img`, { retries: 0 }));
  });
};

/** A disk with partitions. */
const disk: Group = async (check, { files, manifests }) => {
  const device = blobDevice(files['disk.img']);
  await check('lists the partitions', async () => {
    const found = await partitions(device);
    equal(
      found.map((one) => [one.number, one.type]),
      [
        [1, 'c'],
        [2, '83'],
      ],
    );
  });
  const fs = await mount(await partition(device, 2));
  await checkTree(check, callsOf(fs, 'promises'), manifests.disk);
  await checkUnmount(check, fs);
  await check('finds a partition by its label', async () => {
    const named = await mount(await partition(device, 'second'));
    equal(await named.promises.readFile('/hello.txt', 'utf8'), 'from the second partition\n');
    await named.unmount();
    await fails('ENXIO', () => partition(device, 3));
  });
};

/** An image in linear memory: DAX. */
const memory: Group = async (check, { files, manifests, isolated }) => {
  const bytes = new Uint8Array(await files['fs.img'].arrayBuffer());
  const device = memoryDevice(bytes);
  const fs = mountSync(device, { ro: true });
  await check('views are the image itself', () => {
    equal(fs.dataPathSync('/big.bin'), 'dax');
    const view = fs.viewSync('/big.bin', 0, 4096);
    truthy(view.zeroCopy && view.memory === device.direct?.memory, 'the memory of the device');
    equal(isShared(view), isolated);
    view.release();
  });
  await checkTree(check, callsOf(fs, 'sync'), manifests.main);
  await checkUnmount(check, fs);
};

/** Plain memory on request, and the kernels without SIMD, on both. */
const variants: Group = async (check, { files, manifests, isolated }) => {
  for (const shared of new Set([isolated, false])) {
    for (const simd of [true, false]) {
      const fs = await mount(blobDevice(files['fs.img']), { shared, simd });
      const name = `${shared ? 'shared' : 'plain'}, ${simd ? 'SIMD' : 'scalar'}`;
      await check(`${name}: the same bytes`, async () => {
        const view = await fs.promises.view('/big.bin');
        equal(isShared(view), shared);
        equal(await sha256(view.copy()), knownOf(manifests).big.sha256);
        view.release();
      });
      await fs.unmount();
    }
  }
  await check('shared memory where it is not allowed is refused by name', async () => {
    if (isolated) return 'allowed here';
    const asked = () => mount(blobDevice(files['fs.img']), { shared: true });
    const error = await fails('ENOTSUP', asked);
    truthy(/isolated/.test(error.message), error.message);
    return error.message;
  });
};

/** An image that needs recovery. */
const journal: Group = async (check, { files, manifests }) => {
  const { stateBlock, blockSize } = manifests.crash;
  const pos = stateBlock * blockSize;
  const stateOf = async (blob: Blob) => (await blob.slice(pos, pos + 6).text()).replace('.', '');
  const shown = async (device: BlockDevice, options: object) => {
    const fs = await mount(device, options);
    const text = await fs.promises.readFile('/state.txt', 'utf8');
    const { state } = fs.info().journal;
    await fs.unmount();
    return `${text.replaceAll('.', '')} ${state}`;
  };
  await check('a File: replayed in memory', async () => {
    equal(await shown(blobDevice(files['crash.img']), {}), 'after memory');
    equal(await stateOf(files['crash.img']), 'before');
    await fails('EROFS', () => mount(blobDevice(files['crash.img']), { journal: 'replay' }));
  });
  const handle = await copyToOpfs(files['crash.img'], 'crash.img');
  await check('OPFS: refused, or replayed home', async () => {
    const device = await opfsDevice(handle);
    const refused = await thrown(() => mountSync(device, { journal: 'refuse' }));
    truthy(refused instanceof Ext4Error, 'Ext4Error');
    equal(await shown(device, { journal: 'memory' }), 'after memory');
    equal(await shown(device, { journal: 'replay' }), 'after replayed');
    await device.close();
    equal(await stateOf(await handle.getFile()), 'after');
    const again = await opfsDevice(handle);
    equal(await shown(again, {}), 'after clean');
    await again.close();
    return `refused: ${refused.message}`;
  });
  await removeFromOpfs('crash.img');
};

/** Damaged images: an Ext4Error with code and detail each time, never a trap. */
const damage: Group = async (check, { files, manifests }) => {
  const bytes = new Uint8Array(await files['crash.img'].arrayBuffer());
  const { rootBlock, blockSize } = manifests.crash;
  const broken = (at: number, mask: number) => {
    const copy = bytes.slice();
    copy[at] ^= mask;
    return blobDevice(new Blob([copy]));
  };
  const refused = async (code: string, fn: () => unknown) => {
    const error = await fails(code, fn);
    truthy(error instanceof Ext4Error, 'Ext4Error');
    return error.message;
  };
  await check('no file system', () => refused('EINVAL', () => mount(broken(1024 + 0x38, 0xff))));
  await check('a superblock with a wrong checksum', async () => {
    const error = await fails('EBADMSG', () => mount(broken(1024 + 0x78, 1)));
    equal((error as unknown as Ext4Error).detail?.record, 'superblock');
    return error.message;
  });
  await check('a feature that nobody knows', async () => {
    const error = await fails('EOPNOTSUPP', () => mount(broken(1024 + 0x63, 0x40)));
    truthy((error as unknown as Ext4Error).detail?.features?.length, 'the feature has a name');
    return error.message;
  });
  await check('an image that was cut off', () =>
    refused('EUCLEAN', () => mount(blobDevice(new Blob([bytes.subarray(0, 5 << 20)])))),
  );
  await check('a damaged directory', async () => {
    const fs = await mount(broken(rootBlock * blockSize + 13, 1));
    const error = await fails('EBADMSG', () => fs.promises.readdir('/'));
    equal((error as unknown as Ext4Error).detail?.block, rootBlock);
    equal(fs.counters().pins, 0);
    await fs.unmount();
    return error.message;
  });
};

/** By name, in the order in which they run. */
export const GROUPS: Record<string, Group> = {
  file,
  opfs,
  opfsAsync,
  http,
  disk,
  memory,
  variants,
  journal,
  damage,
};
