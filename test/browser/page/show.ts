// Draws the report: one card a group, one line a check.

import type { Result } from './report.ts';
import type { Speed } from './setting.ts';

const TITLES: Record<string, string> = {
  page: 'In the page itself',
  file: 'Worker: a File',
  opfs: 'Worker: OPFS, mountSync',
  opfsAsync: 'Worker: OPFS, mount',
  http: 'Worker: HTTP ranges',
  disk: 'Worker: a partition',
  memory: 'Worker: memory, DAX',
  variants: 'Worker: memory and SIMD',
  journal: 'Worker: journal replay',
  damage: 'Worker: damaged images',
  threads: 'Worker: views and threads',
  speed: 'Worker: speed',
};

const $ = (id: string) => document.getElementById(id) as HTMLElement;

function element(tag: string, className: string, text = ''): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export function drawEnvironment(isolated: boolean): void {
  $('memory').textContent = isolated ? 'shared memory (isolated)' : 'plain memory (not isolated)';
  $('browser').textContent =
    /Chrom\w+\/[\d]+/.exec(navigator.userAgent)?.[0].replace('/', ' ') ?? '';
}

export function drawResult({ group, name, ok, note, ms }: Result): void {
  const card = document.getElementById(`group-${group}`) ?? newCard(group);
  const line = element('li', ok ? 'ok' : 'failed');
  line.append(element('span', 'name', name), element('span', 'ms', `${ms.toFixed(0)} ms`));
  if (note) line.append(element('div', 'note', note));
  card.append(line);
}

function newCard(group: string): HTMLElement {
  const card = element('section', 'card');
  const list = element('ul', '');
  list.id = `group-${group}`;
  card.append(element('h2', '', TITLES[group] ?? group), list);
  $('cards').append(card);
  return list;
}

export function drawTree(lines: string[]): void {
  $('tree').textContent = lines.join('\n');
}

export function drawSpeed(rows: Speed[]): void {
  for (const { what, value } of rows) {
    const line = element('tr', '');
    line.append(element('td', '', what), element('td', 'value', value));
    $('speed').append(line);
  }
}

export function drawTotal(results: Result[]): void {
  const failed = results.filter(({ ok }) => !ok).length;
  $('total').textContent =
    failed === 0 ? `all ${results.length} checks hold` : `${failed} of ${results.length} failed`;
  $('total').className = failed === 0 ? 'ok' : 'failed';
}
