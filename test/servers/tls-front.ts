/**
 * Hosts of the internet on this machine, for clients whose addresses are fixed: a proxy for `HTTPS_PROXY` that ends TLS itself, with
 * certificates of a CA made for the test, and passes the requests on to a server on the loopback. Nothing else can be reached
 * through it, and no host name is looked up.
 */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, request as send } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface TlsFront extends AsyncDisposable {
  /** For `HTTPS_PROXY`. */
  readonly proxy: string;
  /** File with the certificate of the CA. */
  readonly ca: string;
}

/** `hosts`: each host's server, as `http://127.0.0.1:<port>`. `folder` holds the keys. */
export async function startTlsFront(
  hosts: Readonly<Record<string, string>>,
  folder: string,
): Promise<TlsFront> {
  const { ca, key, cert } = await makeCertificate(Object.keys(hosts), folder);
  const tls = createTlsServer(
    { key: await readFile(key), cert: await readFile(cert) },
    (request, response) => {
      const target = hosts[hostOf(request.headers.host)];
      if (target === undefined) {
        response.writeHead(502).end();
        return;
      }
      const headers = { ...request.headers, 'x-forwarded-proto': 'https' };
      const passed = send(
        new URL(request.url ?? '/', target),
        { method: request.method, headers },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
        },
      );
      passed.on('error', () => response.destroy());
      request.pipe(passed);
    },
  );
  const sockets = new Set<Socket>();
  const server = createServer((_request, response) => response.writeHead(400).end());
  server.on('connect', (request: IncomingMessage, socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
    if (hosts[hostOf(request.url)] === undefined) {
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
      return;
    }
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    tls.emit('connection', socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    proxy: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const hostOf = (text = '') => text.replace(/:\d+$/, '');

async function makeCertificate(hosts: readonly string[], folder: string) {
  const run = (...args: string[]) => promisify(execFile)('openssl', args);
  const at = (name: string) => join(folder, name);
  const [ca, caKey, cert, key, request, names] = [
    'ca.pem',
    'ca.key',
    'host.pem',
    'host.key',
    'host.csr',
    'names',
  ].map(at) as [string, string, string, string, string, string];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await run(
    'req',
    '-x509',
    ...curve,
    '-keyout',
    caKey,
    '-out',
    ca,
    '-days',
    '2',
    '-subj',
    '/CN=sregistry test CA',
  );
  await run('req', ...curve, '-keyout', key, '-out', request, '-subj', `/CN=${hosts[0]}`);
  await writeFile(names, `subjectAltName=${hosts.map((host) => `DNS:${host}`).join(',')}`);
  await run(
    'x509',
    '-req',
    '-in',
    request,
    '-CA',
    ca,
    '-CAkey',
    caKey,
    '-CAcreateserial',
    '-out',
    cert,
    '-days',
    '2',
    '-extfile',
    names,
  );
  return { ca, key, cert };
}
