/**
 * A faulting proxy in a process of its own, so that neither it nor the coordinator waits for the other's work. Its parent says
 * how many requests get a fault; it tells on request what it did.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Fault, startFaultProxy } from '../servers/fault-proxy.ts';
import { chooseFault, type FaultKind, faultOf, type Weights } from './faults.ts';
import { Random } from './random.ts';

export interface Plan {
  /** Of all requests, 0 to 1. */
  readonly rate: number;
  readonly weights: Weights;
}

export type ToProxy = { plan: Plan } | { calm: true } | { count: true };

export interface Counts {
  requests: number;
  faults: Partial<Record<FaultKind, number>>;
  /** Requests with credentials that arrived where a redirect pointed. */
  leaked: number;
}

export type FromProxy = { url: string } | { counts: Counts };

const CALM: Plan = { rate: 0, weights: {} };

const [origin = '', seed = ''] = process.argv.slice(2);
const random = new Random(seed);
const counts: Counts = { requests: 0, faults: {}, leaked: 0 };
let plan = CALM;
/** Answers that a fault may hold up. */
const spoilt = new Set<ServerResponse>();

const spoil: Fault = (request, response, forward) => {
  counts.requests += 1;
  const kind = random.chance(plan.rate) ? chooseFault(plan.weights, request, random) : undefined;
  if (kind === undefined) {
    forward();
    return;
  }
  counts.faults[kind] = (counts.faults[kind] ?? 0) + 1;
  spoilt.add(response);
  response.on('close', () => spoilt.delete(response));
  faultOf(kind, random, addressElsewhere)(request, response, forward);
};

/** Where redirects point: a page that is no registry's, an address without a server, and round in a circle. */
const elsewhere = createServer((request, response) => {
  if (request.headers.authorization !== undefined) counts.leaked += 1;
  request.resume();
  if (request.url?.startsWith('/circle')) response.writeHead(307, { location: request.url }).end();
  else response.writeHead(403, { 'content-type': 'text/html' }).end('<h1>Log in to this network</h1>');
}).listen(0, '127.0.0.1');

function addressElsewhere(_request: IncomingMessage): string {
  const { port } = elsewhere.address() as AddressInfo;
  return random.pick([
    `http://127.0.0.1:${port}/login`,
    `http://127.0.0.1:${port}/circle`,
    'http://127.0.0.1:1/',
  ]);
}

const proxy = await startFaultProxy(origin, { record: false });
proxy.inject(spoil, { times: Number.POSITIVE_INFINITY });

process.on('message', (message: ToProxy) => {
  if ('plan' in message) plan = message.plan;
  if ('calm' in message) {
    plan = CALM;
    for (const response of spoilt) response.destroy();
  }
  if ('count' in message) tell({ counts });
});
process.on('disconnect', () => process.exit());
tell({ url: proxy.url });

function tell(message: FromProxy): void {
  process.send?.(message);
}
