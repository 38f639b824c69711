// A small web server on 127.0.0.1 that serves one array of bytes by ranges, counts what it is asked for, and can be
// made to behave badly in all the ways that range clients have met.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';

export interface Asked {
  from: number;
  to: number;
}

/** How a request is answered; `null` lets it be served as it should be. */
export type Behaviour = (
  request: IncomingMessage,
  response: ServerResponse,
  asked: Asked,
) => boolean | Promise<boolean>;

export interface RangeServer {
  url: string;
  asked: Asked[];
  /** Most requests that were being served at once. */
  depth: number;
  bytes: Uint8Array;
  etag: string;
  /** Returns true when it has answered, or never will. */
  behave: Behaviour | null;
  headers: Record<string, string>;
  close(): Promise<void>;
}

/** Starts a server; close() drops its connections. */
export async function serveRanges(bytes: Uint8Array): Promise<RangeServer> {
  let active = 0;
  const http = createServer(async (request, response) => {
    const [, from, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const asked = { from: Number(from), to: Number(last) + 1 };
    server.asked.push(asked);
    server.depth = Math.max(server.depth, ++active);
    response.on('close', () => active--);
    if (await server.behave?.(request, response, asked)) return;
    send(server, response, asked);
  });
  const server: RangeServer = {
    url: '',
    asked: [],
    depth: 0,
    bytes,
    etag: '"one"',
    behave: null,
    headers: {},
    close: () => {
      http.closeAllConnections();
      return new Promise((resolve) => http.close(() => resolve()));
    },
  };
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  server.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/disk.img`;
  return server;
}

function send(server: RangeServer, response: ServerResponse, { from, to }: Asked): void {
  const size = server.bytes.length;
  const end = Math.min(to, size);
  if (from >= size) {
    response.writeHead(416, { 'Content-Range': `bytes */${size}` }).end();
    return;
  }
  const headers = {
    ETag: server.etag,
    'Content-Range': `bytes ${from}-${end - 1}/${size}`,
    'Content-Length': `${end - from}`,
    ...server.headers,
  };
  response.writeHead(206, headers).end(server.bytes.subarray(from, end));
}

/** The bad days. */
export const behaviours = {
  status:
    (code: number): Behaviour =>
    (_, response) => {
      response.writeHead(code).end('no');
      return true;
    },
  /** The whole file with 200, as a server without range support does. */
  whole:
    (server: RangeServer): Behaviour =>
    (_, response) => {
      response.writeHead(200, { ETag: server.etag }).end(server.bytes);
      return true;
    },
  gzip:
    (server: RangeServer): Behaviour =>
    (_, response, { from, to }) => {
      const body = gzipSync(server.bytes.subarray(from, to));
      response.writeHead(206, {
        'Content-Encoding': 'gzip',
        'Content-Range': `bytes ${from}-${to - 1}/${server.bytes.length}`,
      });
      response.end(body);
      return true;
    },
  /** Answers with these headers and so many bytes, chunked. */
  raw:
    (headers: Record<string, string>, bytes: number): Behaviour =>
    (_, response) => {
      response.writeHead(206, headers).end(Buffer.alloc(bytes));
      return true;
    },
  /** Breaks the connection in the middle of the body. */
  cut:
    (server: RangeServer): Behaviour =>
    (_, response, { from, to }) => {
      response.writeHead(206, {
        'Content-Range': `bytes ${from}-${to - 1}/${server.bytes.length}`,
        'Content-Length': `${to - from}`,
      });
      response.write(server.bytes.subarray(from, from + 1000), () => response.destroy());
      return true;
    },
  silence: (): Behaviour => () => true,
};
