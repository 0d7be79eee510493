import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createHttpClient, type HttpSettings } from '../../../src/backends/http.ts';

/** A server that notes its connections and requests, and answers when `answer` is called. */
async function serve() {
  const connections: Socket[] = [];
  const gate = Promise.withResolvers<void>();
  let requests = 0;
  const server: Server = createServer(async (_, response) => {
    requests += 1;
    await gate.promise;
    response.end('answer');
  });
  server.on('connection', (socket) => connections.push(socket));
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { base, connections, requests: () => requests, answer: () => gate.resolve() };
}

function client(settings: HttpSettings) {
  const http = createHttpClient({ env: {}, ...settings });
  onTestFinished(() => http.close());
  return http;
}

test('connections are made before requests, and requests use them', async () => {
  const server = await serve();
  const http = client({ base: server.base });
  http.warm(3);
  await vi.waitFor(() => expect(server.connections).toHaveLength(3));
  expect(server.requests()).toBe(0);
  const replies = Promise.all([1, 2, 3].map((i) => http.get(`/${i}`)));
  await vi.waitFor(() => expect(server.requests()).toBe(3));
  server.answer();
  expect((await replies).map((reply) => reply.text())).toEqual(['answer', 'answer', 'answer']);
  expect(server.connections).toHaveLength(3);
});

test('connections that wait are not made again', async () => {
  const server = await serve();
  const http = client({ base: server.base });
  http.warm(2);
  http.warm(2);
  await vi.waitFor(() => expect(server.connections).toHaveLength(2));
  http.warm(3);
  await vi.waitFor(() => expect(server.connections).toHaveLength(3));
});

test('a connection that the server closed meanwhile is not used', async () => {
  const server = await serve();
  server.answer();
  const http = client({ base: server.base });
  http.warm(2);
  await vi.waitFor(() => expect(server.connections).toHaveLength(2));
  for (const connection of server.connections) connection.destroy();
  expect((await http.get('/')).text()).toBe('answer');
  expect((await http.get('/')).text()).toBe('answer');
});

test('closing the client ends the connections that wait, and those being made', async () => {
  const server = await serve();
  const http = client({ base: server.base });
  http.warm(2);
  await vi.waitFor(() => expect(server.connections).toHaveLength(2));
  http.warm(4);
  await http.close();
  await vi.waitFor(() => expect(server.connections.every((socket) => socket.destroyed)).toBe(true));
});

test('a service that cannot be reached is met by the request, not by the preparation', async () => {
  const http = client({ base: 'http://127.0.0.1:1', timeout: 2_000 });
  http.warm(2);
  await expect(http.get('/')).rejects.toMatchObject({ code: 'UNREACHABLE' });
});

test('behind a proxy no connection is made ahead', async () => {
  const server = await serve();
  const http = client({ base: server.base, env: { HTTP_PROXY: 'http://127.0.0.1:1' } });
  http.warm(2);
  server.answer();
  expect((await http.get('/')).text()).toBe('answer');
  expect(server.connections).toHaveLength(1);
});
