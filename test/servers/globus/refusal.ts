import type { ServerResponse } from 'node:http';

/** An error as Globus answers with it: `code` and `message`, and what else belongs to it. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: object;

  constructor(status: number, code: string, message: string, more: object = {}) {
    super(message);
    this.status = status;
    this.body = { code, message, request_id: 'fake', ...more };
  }
}

export function send(response: ServerResponse, body: object, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
