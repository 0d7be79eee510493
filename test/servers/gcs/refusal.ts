/** Errors of the JSON API ("HTTP status and error codes for JSON", Cloud Storage), and answers. */
import type { ServerResponse } from 'node:http';

export class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

export const notFound = (what: string) => new Refusal(404, 'notFound', what);
export const invalid = (what: string) => new Refusal(400, 'invalid', what);
export const unmet = () =>
  new Refusal(412, 'conditionNotMet', 'At least one of the pre-conditions you specified did not hold.');

export function refuse(response: ServerResponse, { status: code, reason, message }: Refusal): void {
  const errors = [{ message, domain: 'global', reason }];
  response.writeHead(code, { 'content-type': 'application/json; charset=UTF-8' });
  response.end(JSON.stringify({ error: { code, message, errors } }));
}

export function send(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json; charset=UTF-8' }).end(JSON.stringify(value));
}

/** The JSON object in a request; none is an empty one. */
export function parseResource(bytes: Buffer): Record<string, unknown> {
  if (bytes.length === 0) return {};
  try {
    return JSON.parse(bytes.toString()) ?? {};
  } catch {
    throw new Refusal(400, 'parseError', 'Parse Error');
  }
}
