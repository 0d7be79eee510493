/**
 * The token calls of Keystone version 3: logins by password and by application credential, with a catalog that names one account in two
 * regions. Its tokens come from a Swift with logins of version 1, so that Swift accepts them.
 */

import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import type { TestSwift } from './swift.ts';

export const KEYSTONE = {
  user: 'lab',
  password: 'lab-secret',
  project: 'lab',
  domain: 'Default',
  application: { id: 'a1b2', name: 'mounts', secret: 'application-secret' },
} as const;

export interface FakeKeystone extends AsyncDisposable {
  /** `http://127.0.0.1:PORT/v3` */
  readonly url: string;
  /** Bodies of the logins so far. */
  readonly logins: readonly Body[];
}

interface Body {
  readonly auth?: {
    readonly identity?: {
      readonly methods?: readonly string[];
      readonly password?: { readonly user?: Named & { readonly password?: string } };
      readonly application_credential?: Named & {
        readonly id?: string;
        readonly secret?: string;
        user?: Named;
      };
    };
    readonly scope?: { readonly project?: Named & { readonly id?: string } };
  };
}

interface Named {
  readonly name?: string;
  readonly domain?: Named & { readonly id?: string };
}

export async function startKeystone(swift: TestSwift): Promise<FakeKeystone> {
  const logins: Body[] = [];
  const server = createServer(async (request, response) => {
    const answer = await reply(request, swift, logins);
    response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
    response.end(JSON.stringify(answer.body));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v3`,
    logins,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

interface Answer {
  readonly status: number;
  readonly headers?: Record<string, string>;
  readonly body: unknown;
}

async function reply(request: IncomingMessage, swift: TestSwift, logins: Body[]): Promise<Answer> {
  if (request.method !== 'POST' || request.url !== '/v3/auth/tokens')
    return { status: 404, body: { error: { code: 404, message: 'no such call' } } };
  const body = (await json(request)) as Body;
  logins.push(body);
  const { methods = [], password, application_credential } = body.auth?.identity ?? {};
  const isScoped = body.auth?.scope?.project !== undefined;
  const isKnown =
    methods[0] === 'password'
      ? isUser(password?.user) && password?.user?.password === KEYSTONE.password
      : isApplication(application_credential);
  if (!isKnown || methods.length !== 1)
    return { status: 401, body: { error: { code: 401, message: 'The request requires authentication.' } } };
  // Keystone gives an application credential its own project, and refuses any other scope.
  if (methods[0] === 'application_credential' && isScoped)
    return { status: 401, body: { error: { code: 401, message: 'scoping is not allowed' } } };
  const hasProject = methods[0] === 'application_credential' || isProject(body.auth?.scope?.project);
  if (isScoped && !hasProject)
    return { status: 401, body: { error: { code: 401, message: 'no such project' } } };
  const { headers } = await fetch(swift.auth, {
    headers: { 'x-auth-user': swift.login.user, 'x-auth-key': swift.login.token },
  });
  const account = { interface: 'public', region: 'One', region_id: 'One', url: swift.url + swift.account };
  const catalog = [
    { type: 'identity', endpoints: [{ ...account, url: 'http://127.0.0.1:1/' }] },
    {
      type: 'object-store',
      endpoints: [
        { ...account, interface: 'admin', url: 'http://127.0.0.1:1/' },
        { ...account, region: 'Two', region_id: 'Two', url: 'http://127.0.0.1:1/' },
        account,
      ],
    },
  ];
  const expires_at = new Date(Date.now() + 3_600_000).toISOString();
  return {
    status: 201,
    headers: { 'x-subject-token': headers.get('x-auth-token') ?? '' },
    body: { token: { methods, expires_at, ...(hasProject && { catalog }) } },
  };
}

const isIn = (one: Named | undefined) =>
  one?.domain?.name === KEYSTONE.domain || one?.domain?.id === 'default';
const isUser = (user: Named | undefined) => user?.name === KEYSTONE.user && isIn(user);
const isProject = (one: (Named & { id?: string }) | undefined) =>
  one?.id === 'p1' || (one?.name === KEYSTONE.project && isIn(one));

function isApplication(given: (Named & { id?: string; secret?: string; user?: Named }) | undefined): boolean {
  const { id, name, secret } = KEYSTONE.application;
  return given?.secret === secret && (given.id === id || (given.name === name && isUser(given.user)));
}
