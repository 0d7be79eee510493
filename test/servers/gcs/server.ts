/** What the fakes of Google's services have in common: a token service beside the API, and the form of a refusal. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type FaultServer, startFaultServer } from '../http-faults.ts';
import { Refusal, refuse } from './refusal.ts';

export interface GoogleServerOptions {
  /** Sees every request first; true if it has answered, or broken, the request. */
  readonly fault?: ((request: IncomingMessage, response: ServerResponse) => boolean | undefined) | undefined;
  /** Answers a request for a token. */
  issueToken(response: ServerResponse): void;
  /** Answers any other request; may throw a {@link Refusal}. */
  handle(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void>;
}

export function startGoogleServer({ fault, issueToken, handle }: GoogleServerOptions): Promise<FaultServer> {
  return startFaultServer((request, response) => {
    request.on('error', () => {});
    if (fault?.(request, response)) return;
    const url = new URL(request.url ?? '', `http://${request.headers.host}`);
    if (request.headers['x-forwarded-proto'] === 'https') url.protocol = 'https:';
    if (url.pathname === '/v1/token') {
      request.resume();
      issueToken(response);
      return;
    }
    handle(request, response, url).catch((error: unknown) => {
      request.resume();
      if (error instanceof Refusal && !response.headersSent && !response.destroyed) refuse(response, error);
      else response.destroy();
    });
  });
}
