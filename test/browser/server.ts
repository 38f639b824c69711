// A web server on 127.0.0.1 for the built page and the images, with or without the headers of cross-origin isolation.
//   /images/*       by ranges          /whole/*        without ranges: always 200
//   /cors/*         by ranges, other origins may read them; /cors-hidden/*: they may, but see no Content-Range

import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, extname, join } from 'node:path';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
};
const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};
const CORS: Record<string, Record<string, string>> = {
  cors: {
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Expose-Headers': 'Content-Range, ETag',
  },
  'cors-hidden': { 'Access-Control-Allow-Origin': '*' },
};

export interface PageServer {
  origin: string;
  /** Told to the page as the other origin. */
  elsewhere: string;
  /** Requests by method. */
  methods: Record<string, number>;
  close(): Promise<void>;
}

/** Serves `pages` at / and `images` at /images. */
export async function servePage(
  pages: string,
  images: string,
  isolated: boolean,
): Promise<PageServer> {
  const http = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const [, place, name = ''] = pathname.split('/');
    const method = request.method ?? '';
    server.methods[method] = (server.methods[method] ?? 0) + 1;
    if (isolated)
      for (const [key, value] of Object.entries(ISOLATION)) response.setHeader(key, value);
    if (pathname === '/server.json') {
      const told = { isolated, elsewhere: server.elsewhere };
      response.setHeader('Content-Type', TYPES['.json']).end(JSON.stringify(told));
    } else if (['images', 'whole', 'cors', 'cors-hidden'].includes(place)) {
      sendImage(request, response, place, join(images, basename(name)));
    } else sendFile(response, join(pages, pathname === '/' ? 'index.html' : pathname));
  });
  const server: PageServer = {
    origin: '',
    elsewhere: '',
    methods: {},
    close: () => {
      http.closeAllConnections();
      return new Promise((resolve) => http.close(() => resolve()));
    },
  };
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  server.origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  return server;
}

function sendFile(response: ServerResponse, path: string): void {
  if (path.includes('..') || !existsSync(path)) {
    response.writeHead(404).end('not here');
    return;
  }
  const type = TYPES[extname(path)] ?? 'application/octet-stream';
  response.writeHead(200, { 'Content-Type': type }).end(readFileSync(path));
}

function sendImage(
  request: IncomingMessage,
  response: ServerResponse,
  place: string,
  path: string,
): void {
  for (const [key, value] of Object.entries(CORS[place] ?? {})) response.setHeader(key, value);
  if (!existsSync(path)) {
    response.writeHead(404).end('not here');
    return;
  }
  const { size } = statSync(path);
  const range = place === 'whole' ? undefined : request.headers.range;
  const [, from, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
  const [first, end] = from === undefined ? [0, size] : [Number(from), Math.min(+last + 1, size)];
  if (from !== undefined) {
    response.statusCode = 206;
    response.setHeader('Content-Range', `bytes ${first}-${end - 1}/${size}`);
  }
  response.setHeader('Content-Type', TYPES[extname(path)] ?? 'application/octet-stream');
  response.setHeader('ETag', '"one"').end(readPart(path, first, end));
}

function readPart(path: string, from: number, end: number): Uint8Array {
  const bytes = new Uint8Array(end - from);
  const fd = openSync(path, 'r');
  readSync(fd, bytes, 0, bytes.length, from);
  closeSync(fd);
  return bytes;
}
