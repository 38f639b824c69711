// Every entry point that works in a browser, kept whole by the bundler.

import * as main from 'ext4-wasm';
import * as blob from 'ext4-wasm/blob';
import * as device from 'ext4-wasm/device';
import * as http from 'ext4-wasm/http';
import * as memory from 'ext4-wasm/memory';
import * as opfs from 'ext4-wasm/opfs';
import * as raw from 'ext4-wasm/raw';

export const modules = { main, blob, device, http, memory, opfs, raw };
export const names = Object.values(modules).flatMap((one) => Object.keys(one));
