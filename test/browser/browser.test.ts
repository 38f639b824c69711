// Goal: the built package reads ext4 in a real browser, on shared memory and on plain, in a page and in a worker.
// Method: the packed package bundled by vite into the page of page/, served on 127.0.0.1 with and without the headers
// of isolation, run in Debian's Chromium; each group of the page's checks is one test here. Images by mke2fs.

import { appendFileSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { need } from '../need.ts';
import { bundle, installPackage } from './bundle.ts';
import { type Browser, startChromium } from './chromium.ts';
import { makeImages } from './images.ts';
import type { Hooks, Report } from './page/page.ts';
import { type PageServer, servePage } from './server.ts';

/** What each group of checks shows, its name, and how many checks it has at least. */
const GROUPS: [string, string, number][] = [
  ['the page itself mounts a File, an OPFS file and memory', 'page', 23],
  ['a worker mounts a File', 'file', 22],
  ['a worker mounts an OPFS file synchronously', 'opfs', 22],
  ['a worker mounts an OPFS file asynchronously', 'opfsAsync', 5],
  ['a worker mounts an image on a web server', 'http', 8],
  ['a worker mounts a partition', 'disk', 7],
  ['a worker mounts memory, and views are the image', 'memory', 6],
  ['memory on request and scalar kernels read the same', 'variants', 3],
  ['a journal is replayed in memory, or home to OPFS', 'journal', 2],
  ['damaged images are refused with code and detail', 'damage', 5],
  ['a view is for all threads where memory is shared, else for one', 'threads', 1],
  ['how fast it reads can be measured', 'speed', 1],
];

need.describe(
  'in Chromium',
  [need.chromium(), need.tool('mke2fs', 'debugfs', 'e2fsck', 'mkfifo')],
  () => {
    let work: string;
    let browser: Browser;
    const servers: PageServer[] = [];

    beforeAll(async () => {
      work = mkdtempSync(join(tmpdir(), 'ext4-browser-'));
      makeImages(folder('images'));
      const project = folder('project');
      installPackage(project);
      cpSync(join(import.meta.dirname, 'page'), project, { recursive: true });
      await bundle(project, 'index.html', true);
      for (const isolated of [true, false]) {
        servers.push(await servePage(join(project, 'dist'), join(work, 'images'), isolated));
      }
      const [one, other] = servers;
      one.elsewhere = other.origin;
      other.elsewhere = one.origin;
      browser = await startChromium();
    }, 300_000);

    afterAll(async () => {
      await browser?.close();
      await Promise.all(servers.map((server) => server.close()));
      rmSync(work, { recursive: true, force: true });
    });

    function folder(name: string): string {
      const path = join(work, name);
      mkdirSync(path);
      return path;
    }

    /** Opens the page of a server; messages of the console go to `said`. */
    async function openPage(server: PageServer, said: string[]): Promise<Page> {
      const page = await browser.context.newPage();
      page.on('pageerror', (error) => said.push(String(error.stack)));
      page.on('console', (message) => {
        if (message.type() === 'error') said.push(message.text());
      });
      await page.goto(`${server.origin}/`);
      return page;
    }

    describe.each([
      ['shared memory', 0],
      ['plain memory', 1],
    ])('with %s', (name, which) => {
      let report: Report;
      const said: string[] = [];

      beforeAll(async () => {
        const page = await openPage(servers[which], said);
        const images = ['fs.img', 'disk.img', 'crash.img'].map((file) =>
          join(work, 'images', file),
        );
        await page.locator('input').setInputFiles(images);
        await page.waitForFunction(() => (window as unknown as Hooks).report.done, null, {
          timeout: 180_000,
        });
        report = await page.evaluate(() => (window as unknown as Hooks).report);
        if (process.env.SCREENSHOT) {
          await page.screenshot({ path: `${process.env.SCREENSHOT}-${which}.png`, fullPage: true });
        }
        await page.close();
        const rows = report.speed.map(({ what, value }) => `  ${what}: ${value}`);
        console.log([`Chromium, ${name}:`, ...rows].join('\n'));
      }, 240_000);

      test('the page is isolated only where the server says so', () => {
        expect(report.isolated).toBe(which === 0);
      });

      test.each(GROUPS)('%s', (_, group, least) => {
        const results = report.results.filter((one) => one.group === group);
        const failed = results.filter(({ ok }) => !ok);
        expect(failed.map((one) => `${one.name}: ${one.note}`)).toEqual([]);
        expect(results.length).toBeGreaterThanOrEqual(least);
      });

      test('there is no group that nobody knows', () => {
        const groups = new Set(report.results.map(({ group }) => group));
        expect([...groups].sort()).toEqual(GROUPS.map(([, group]) => group).sort());
      });

      test('no request had to be allowed beforehand', () => {
        expect(servers.map(({ methods }) => methods.OPTIONS ?? 0)).toEqual([0, 0]);
      });
    });

    test('a File that changes after it was chosen gives EIO, not old or new bytes', async () => {
      const path = join(work, 'images', 'changing.img');
      copyFileSync(join(work, 'images', 'crash.img'), path);
      const page = await openPage(servers[0], []);
      await page.locator('input').setInputFiles(path);
      const before = await page.evaluate(() => (window as unknown as Hooks).readState());
      appendFileSync(path, 'x');
      const after = await page.evaluate(() => (window as unknown as Hooks).readState());
      await page.close();
      expect(before).toBe('after');
      expect(after).toMatch(/^EIO: .*the file has changed/);
    });
  },
);
