/**
 * A web server on this machine that receives the redirect of an OAuth login from the browser (RFC 8252 section 7.3). It listens on
 * the loopback only. Other programs on this machine can reach it too, so it accepts only a request with the login's `state`.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { abortError } from '../base/abort.ts';

export interface Loopback extends AsyncDisposable {
  readonly redirectUri: string;
  /** The URL of the redirect with this `state`. Throws TIMED_OUT or CANCELED when the signal fires. */
  answer(state: string, signal: AbortSignal): Promise<URL>;
}

export async function listenOnLoopback(): Promise<Loopback> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const redirectUri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    redirectUri,
    answer: (state, signal) => takeAnswer(server, { redirectUri, state }, signal),
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function takeAnswer(
  server: Server,
  { redirectUri, state }: { redirectUri: string; state: string },
  signal: AbortSignal,
): Promise<URL> {
  const { promise, resolve, reject } = Promise.withResolvers<URL>();
  const abandon = () => reject(abortError(signal, 'waiting for the browser'));
  if (signal.aborted) abandon();
  signal.addEventListener('abort', abandon, { once: true });
  server.on('request', ({ url = '/' }, response) => {
    const address = URL.parse(url, redirectUri);
    const isAnswer = address?.pathname === '/' && address.searchParams.get('state') === state;
    response.writeHead(isAnswer ? 200 : 404, HEADERS);
    response.end(isAnswer ? 'Thank you. This page can be closed.\n' : 'There is nothing here.\n', () => {
      if (isAnswer) resolve(address);
    });
  });
  return promise.finally(() => signal.removeEventListener('abort', abandon));
}

/** The URL holds a code, so the browser must not store it. */
const HEADERS = {
  'content-type': 'text/plain',
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  connection: 'close',
};
