/**
 * Dropbox in memory: the part of its API (version 2) that clients use for files, after its public reference (the folder dropbox beside
 * this file). It refuses arguments, paths, offsets and hashes that Dropbox refuses, and headers that are not ASCII.
 *
 * Checked against rclone (../backends/dropbox.rclone.test.ts) and Dropbox's library for Python.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { type Commit, FakeTree } from './dropbox/files.ts';
import { badRequest, Refusal, refused } from './dropbox/refusal.ts';
import { checkBytes, type FakeSession, FakeSessions } from './dropbox/sessions.ts';
import { type FaultServer, sendRange, startFaultServer } from './http-faults.ts';

export interface FakeDropboxOptions {
  /** Accepts an access token. Default: all. */
  readonly accepts?: (token: string) => boolean;
  /** Most entries on a page. Default 2000. */
  readonly pageSize?: number;
  /** Names of the scopes that the app lacks. */
  readonly lacks?: readonly string[];
  /** Id of the namespace that requests must name. */
  readonly namespace?: string;
  /** Address of the service that logs in (oauth-server.ts), for `/oauth2/authorize` and `/oauth2/token`. */
  readonly oauth?: string | undefined;
  /** Sees every request first; true if it has answered, or broken, the request. */
  readonly fault?: ((request: IncomingMessage, response: ServerResponse) => boolean | undefined) | undefined;
}

export interface FakeDropbox extends FaultServer {
  readonly tree: FakeTree;
  readonly sessions: Map<string, FakeSession>;
  /** Tokens that were revoked. */
  readonly revoked: Set<string>;
  /** The bytes at a path. */
  at(path: string): Buffer | undefined;
  put(path: string, bytes: Buffer): void;
}

type Arg = Readonly<Record<string, unknown>>;
interface Link {
  readonly path: string;
  readonly key: string;
  readonly expires?: string | undefined;
}

/** The scope of each route ("Scope" in the reference). */
const SCOPES: readonly (readonly [RegExp, string])[] = [
  [/^users\//, 'account_info.read'],
  [/^files\/(get_metadata|list_folder)/, 'files.metadata.read'],
  [/^files\/(download|get_temporary_link)/, 'files.content.read'],
  [/^files\//, 'files.content.write'],
  [/^sharing\/list/, 'sharing.read'],
  [/^sharing\//, 'sharing.write'],
];

/** What Dropbox says of every link, and no client here looks at. */
const LINK_PERMISSIONS = {
  visibility_policies: [],
  can_set_expiry: true,
  can_remove_expiry: true,
  allow_download: true,
  can_allow_download: true,
  can_disallow_download: true,
  allow_comments: true,
  team_restricts_comments: false,
};

/** Routes whose bodies are the bytes of a file. */
const UPLOADS = [
  'files/upload',
  'files/upload_session/start',
  'files/upload_session/append_v2',
  'files/upload_session/finish',
];

export async function startFakeDropbox(options: FakeDropboxOptions = {}): Promise<FakeDropbox> {
  const tree = new FakeTree();
  const sessions = new FakeSessions();
  const revoked = new Set<string>();
  const cursors = new Map<
    string,
    { readonly path: string; readonly recursive: boolean; readonly after: number; readonly limit: number }
  >();
  const links: Link[] = [];

  const page = (path: string, recursive: boolean, after: number, limit: number) => {
    const all = tree.list(path, recursive);
    const end = after + Math.min(limit, options.pageSize ?? 2000);
    const cursor = `AAE${randomUUID()}`;
    cursors.set(cursor, { path, recursive, after: end, limit });
    return {
      entries: all.slice(after, end).map((one) => tree.describe(one)),
      cursor,
      has_more: end < all.length,
    };
  };

  const linkOf = ({ path, key, expires }: Link, origin: string) => ({
    '.tag': 'file',
    ...tree.describe(tree.find(path).entry),
    url: `${origin}/scl/fi/${key}/file.sif?rlkey=abc&dl=0`,
    expires,
    link_permissions: { resolved_visibility: { '.tag': 'public' }, can_revoke: true, ...LINK_PERMISSIONS },
  });

  const account = {
    account_id: 'dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc',
    name: { given_name: 'A', surname: 'B', familiar_name: 'A', display_name: 'A B', abbreviated_name: 'AB' },
    email: 'me@example.org',
    email_verified: true,
    disabled: false,
    locale: 'en',
    referral_link: 'https://db.tt/x',
    is_paired: false,
    account_type: { '.tag': 'basic' },
    root_info: { '.tag': 'user', root_namespace_id: '3235641', home_namespace_id: '3235641' },
  };

  /** Requests with JSON and without bytes. */
  const calls: Record<string, (arg: Arg, origin: string) => unknown> = {
    'users/get_current_account': () => account,
    'users/get_space_usage': () => ({
      used: 0,
      allocation: { '.tag': 'individual', allocated: 2_147_483_648 },
    }),
    'files/get_metadata': ({ path }) => {
      const { entry, revision } = tree.find(path);
      return tree.describe(entry, revision);
    },
    'files/list_folder': ({ path, recursive, limit = 2000 }) => {
      if (path === '/' || typeof path !== 'string')
        throw badRequest("path: Specify the root folder as an empty string rather than as '/'.");
      if (!(Number(limit) >= 1 && Number(limit) <= 2000)) throw badRequest('limit: out of range');
      return page(path, recursive === true, 0, Number(limit));
    },
    'files/list_folder/continue': ({ cursor }) => {
      const known = cursors.get(String(cursor));
      if (known === undefined) throw refused('reset');
      return page(known.path, known.recursive, known.after, known.limit);
    },
    'files/create_folder_v2': ({ path }) => {
      if (tree.entries.has(FakeTree.check(path).toLowerCase())) throw refused('path/conflict/folder');
      return { metadata: tree.describe(tree.makeFolder(String(path))) };
    },
    'files/delete_v2': ({ path, parent_rev }) => {
      const { entry, revision } = tree.find(path, 'path_lookup');
      const metadata = tree.describe(entry, revision);
      tree.remove(path, parent_rev);
      return { metadata };
    },
    'files/copy_v2': ({ from_path, to_path, autorename }) => ({
      metadata: tree.describe(tree.copy(from_path, to_path, autorename)),
    }),
    'files/move_v2': ({ from_path, to_path, autorename }) => ({
      metadata: tree.describe(tree.copy(from_path, to_path, autorename, true)),
    }),
    'files/restore': ({ path, rev }) => tree.describe(tree.restore(path, rev)),
    'files/upload_session/finish_batch_v2': ({ entries }) => ({
      entries: (entries as Arg[]).map((entry) => {
        try {
          return { ...finish(entry, Buffer.alloc(0)), '.tag': 'success' };
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          return { '.tag': 'failure', failure: JSON.parse(error.body).error };
        }
      }),
    }),
    'sharing/create_shared_link_with_settings': ({ path, settings }, origin) => {
      const { entry } = tree.find(path);
      const { expires } = (settings ?? {}) as Arg;
      if (expires !== undefined && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(String(expires)))
        throw badRequest('settings.expires: not a time');
      if (links.some((link) => link.path === entry.path)) throw refused('shared_link_already_exists');
      const link: Link = { path: entry.path, key: randomUUID(), expires: expires as string | undefined };
      links.push(link);
      return linkOf(link, origin);
    },
    'sharing/list_shared_links': ({ path }, origin) => {
      const { entry } = tree.find(path);
      return {
        links: links.filter((link) => link.path === entry.path).map((link) => linkOf(link, origin)),
        has_more: false,
      };
    },
  };

  const finish = (arg: Arg, bytes: Buffer): object => {
    const finished = sessions.finish(arg, bytes);
    const entry = tree.commit(arg.commit as Commit, finished.bytes, 'path');
    finished.drop();
    return tree.describe(entry);
  };

  const upload = (route: string, arg: Arg, bytes: Buffer): unknown => {
    if (route === 'files/upload') {
      checkBytes(bytes, arg.content_hash);
      return tree.describe(uploaded(() => tree.commit(arg, bytes)));
    }
    if (route.endsWith('/start')) return { session_id: sessions.start(arg, bytes) };
    if (route.endsWith('/append_v2')) return sessions.append(arg, bytes);
    return finish(arg, bytes);
  };

  const download = (request: IncomingMessage, response: ServerResponse, arg: Arg) => {
    const { entry, revision } = tree.find(arg.path);
    if (revision === undefined) throw refused('path/not_file');
    response.setHeader('content-type', 'application/octet-stream');
    response.setHeader('dropbox-api-result', escaped(tree.describe(entry, revision)));
    sendRange(request, response, revision.bytes, { etag: `W/"${revision.rev}"` });
  };

  /** A link with dl=1 gives the bytes, any other one a page. */
  const follow = (request: IncomingMessage, response: ServerResponse, url: URL) => {
    const link = links.find(({ key }) => url.pathname.split('/')[3] === key);
    const bytes = link && tree.find(link.path).revision?.bytes;
    if (bytes === undefined) response.writeHead(404).end();
    else if (url.searchParams.get('dl') === '1') sendRange(request, response, bytes);
    else response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', `http://${request.headers.host}`);
    if (url.pathname.startsWith('/oauth2/'))
      return passOn(request, response, `${options.oauth}${url.pathname.slice(7)}${url.search}`);
    if (url.pathname.startsWith('/scl/')) return follow(request, response, url);
    const route = url.pathname.replace(/^\/2\//, '');
    const { headers } = request;
    const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1];
    if (token === undefined || revoked.has(token) || !(options.accepts?.(token) ?? true))
      throw new Refusal(401, {
        error_summary: 'invalid_access_token/..',
        error: { '.tag': 'invalid_access_token' },
      });
    const scope = SCOPES.find(([pattern]) => pattern.test(route))?.[1] ?? '';
    if (options.lacks?.includes(scope))
      throw new Refusal(401, {
        error_summary: 'missing_scope/...',
        error: { '.tag': 'missing_scope', required_scope: scope },
      });
    const root = headers['dropbox-api-path-root'];
    const namespace = root === undefined ? undefined : JSON.parse(String(root)).namespace_id;
    if (namespace !== options.namespace)
      throw new Refusal(422, { error_summary: 'no_permission/..', error: { '.tag': 'no_permission' } });
    if (route === 'files/download') return download(request, response, argIn(request, url));
    if (request.method !== 'POST') throw badRequest('use POST');
    const body = await buffer(request);
    if (UPLOADS.includes(route)) {
      if (headers['content-type'] !== 'application/octet-stream')
        throw badRequest(`Bad HTTP "Content-Type" header: ${headers['content-type']}`);
      return answer(response, upload(route, argIn(request, url), body));
    }
    if (route === 'auth/token/revoke') {
      revoked.add(token);
      return answer(response, undefined);
    }
    const call = calls[route];
    if (call === undefined) throw badRequest(`Unknown API function: ${route}`);
    if (!headers['content-type']?.startsWith('application/json'))
      throw badRequest('Bad HTTP "Content-Type" header');
    answer(response, call(JSON.parse(body.toString()) ?? {}, url.origin));
  };

  const server = await startFaultServer((request, response) => {
    request.on('error', () => {});
    if (options.fault?.(request, response)) return;
    handle(request, response).catch((error: unknown) => {
      request.resume();
      if (!(error instanceof Refusal) || response.headersSent) return response.destroy();
      const type = error.body.startsWith('{') ? 'application/json' : 'text/plain; charset=utf-8';
      response.writeHead(error.status, { 'content-type': type }).end(error.body);
    });
  });

  return {
    ...server,
    tree,
    sessions: sessions.all,
    revoked,
    at: (path) => tree.entries.get(path.toLowerCase())?.revisions.at(-1)?.bytes,
    put: (path, bytes) => void tree.commit({ path, mode: 'overwrite' }, bytes),
  };
}

async function passOn(request: IncomingMessage, response: ServerResponse, target: string): Promise<void> {
  const { method = 'GET' } = request;
  const body = method === 'POST' ? (await buffer(request)).toString() : undefined;
  const headers = { 'content-type': request.headers['content-type'] ?? 'text/plain' };
  const reply = await fetch(target, {
    method,
    headers,
    redirect: 'manual',
    ...(body !== undefined && { body }),
  });
  response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? 'text/plain' });
  response.end(await reply.text());
}

/** `files/upload` has its own form of a refusal: the reason beside the tag (`UploadWriteFailed`). */
function uploaded<T>(commit: () => T): T {
  try {
    return commit();
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 409) throw error;
    const { error_summary, error: details } = JSON.parse(error.body);
    const { '.tag': tag, [tag]: reason } = details;
    throw new Refusal(409, { error_summary, error: { '.tag': tag, reason, upload_session_id: 'none' } });
  }
}

/** The argument in the header, or in the address. */
function argIn({ headers }: IncomingMessage, url: URL): Arg {
  const text = headers['dropbox-api-arg'] ?? url.searchParams.get('arg');
  if (typeof text !== 'string' || !/^[\x20-\x7e]*$/.test(text))
    throw badRequest('HTTP header "Dropbox-API-Arg": not ASCII');
  return JSON.parse(text);
}

const escaped = (value: object) =>
  JSON.stringify(value).replace(
    /[\x7f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

function answer(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value ?? null));
}
