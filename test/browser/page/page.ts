// The page: takes the images from its file input, shows that importing runs no WebAssembly, mounts in its own thread,
// lets a worker do the rest, and draws the report. The test reads it through what Hooks names. A single file that is
// chosen is only held, for readState().

import type { Manifests } from './manifest.ts';
import { checker, describeError, type Result, sha256 } from './report.ts';
import type { FromWorker, Setting, Speed } from './setting.ts';
import { drawEnvironment, drawResult, drawSpeed, drawTotal, drawTree } from './show.ts';

export interface Report {
  isolated: boolean;
  results: Result[];
  speed: Speed[];
  done: boolean;
}

/** What the test finds in the page's window. */
export interface Hooks {
  report: Report;
  /** Mounts the file that was chosen alone; the state in its /state.txt, or the message of the error. */
  readState(): Promise<string>;
}

const report: Report = {
  isolated: globalThis.crossOriginIsolated,
  results: [],
  speed: [],
  done: false,
};
let held: File | undefined;
Object.assign(globalThis, { report, readState } satisfies Hooks);

const input = document.querySelector('input') as HTMLInputElement;
input.addEventListener('change', () => {
  const chosen = [...(input.files ?? [])];
  if (chosen.length === 1) {
    held = chosen[0];
    return;
  }
  main(chosen).catch((error) => {
    emit({ group: 'page', name: 'runs to its end', ok: false, note: describeError(error), ms: 0 });
    finish();
  });
});
drawEnvironment(report.isolated);

async function main(chosen: File[]): Promise<void> {
  input.disabled = true;
  const files = Object.fromEntries(chosen.map((file) => [file.name, file])) as Setting['files'];
  const { manifests, isolated, elsewhere } = await settingOf();
  const setting = { files, manifests, isolated, origin: location.origin, elsewhere };
  const check = checker('page', emit);
  await check('importing every entry point runs no WebAssembly', importAll);
  const { checkPage } = await import('./mainthread.ts');
  await checkPage(check, setting);
  await runWorker(setting);
  finish();
}

async function settingOf(): Promise<
  Pick<Setting, 'isolated' | 'elsewhere'> & { manifests: Manifests }
> {
  const [manifests, server] = await Promise.all(
    ['/images/manifest.json', '/server.json'].map(async (url) => (await fetch(url)).json()),
  );
  return { manifests, ...server };
}

/** Imports the whole package while WebAssembly counts its callers. */
async function importAll(): Promise<string> {
  const called: string[] = [];
  const real = globalThis.WebAssembly;
  globalThis.WebAssembly = new Proxy(real, {
    get(target, name) {
      called.push(String(name));
      return Reflect.get(target, name);
    },
  });
  try {
    const { names } = await import('./everything.ts');
    if (called.length > 0) throw new Error(`WebAssembly.${called.join(', ')}`);
    return `${names.length} exports`;
  } finally {
    globalThis.WebAssembly = real;
  }
}

function runWorker(setting: Setting): Promise<void> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  return new Promise((resolve, reject) => {
    worker.onerror = ({ message }) => reject(new Error(`worker: ${message}`));
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === 'result') emit(data.result);
      else if (data.kind === 'tree') drawTree(data.lines);
      else if (data.kind === 'view') answerView(data);
      else if (data.kind === 'speed') drawSpeed((report.speed = data.rows));
      else resolve();
    };
    worker.postMessage(setting);
  });
}

/** Reads another thread's view in place. */
async function answerView(view: Extract<FromWorker, { kind: 'view' }>): Promise<void> {
  const bytes = new Uint8Array(view.memory.buffer, view.ptr, view.len);
  view.port.postMessage(await sha256(bytes));
}

async function readState(): Promise<string> {
  const [{ mount }, { blobDevice }] = await Promise.all([
    import('ext4-wasm'),
    import('ext4-wasm/blob'),
  ]);
  try {
    const fs = await mount(blobDevice(held as File));
    const text = await fs.promises.readFile('/state.txt', 'utf8');
    await fs.unmount();
    return text.replaceAll('.', '');
  } catch (error) {
    return (error as Error).message;
  }
}

function emit(result: Result): void {
  report.results.push(result);
  drawResult(result);
}

function finish(): void {
  report.done = true;
  drawTotal(report.results);
}
