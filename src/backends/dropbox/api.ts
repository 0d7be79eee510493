/**
 * The API of Dropbox (version 2, dropbox.com/developers/documentation/http). A request about metadata sends JSON; one with the bytes of
 * a file sends its argument in a header and goes to another host.
 */
import type { Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import {
  type BufferedResponse,
  createHttpClient,
  type HttpClient,
  type RequestOptions,
  type StreamOptions,
} from '../http.ts';
import { type DropboxContext, type Hosts, hostsOf } from './context.ts';
import { explain } from './failure.ts';
import { dropboxCredentials } from './login.ts';

export class DropboxApi {
  readonly http: HttpClient;
  readonly hosts: Hosts;

  constructor(context: DropboxContext) {
    const { name, options, env } = context;
    const { pathRoot, base } = options;
    if (pathRoot !== undefined && !/^\d{1,20}$/.test(pathRoot))
      throw new SregistryError('SETTINGS', `${name}: pathRoot is not the id of a namespace: ${pathRoot}`, {
        hint: 'it is a number; the API tells it as root_namespace_id of the account',
      });
    this.hosts = hostsOf(name, base);
    const loginHint = `log in with \`sregistry auth login ${name}\``;
    this.http = createHttpClient({
      base: this.hosts.api,
      origins: [this.hosts.content],
      env,
      ...(pathRoot !== undefined && {
        headers: { 'dropbox-api-path-root': toHeader({ '.tag': 'namespace_id', namespace_id: pathRoot }) },
      }),
      ...dropboxCredentials(context),
      interpret: (error, answer) => explain(error, answer, loginHint),
      hints: { UNAUTHORIZED: loginHint },
    });
  }

  /** A request without bytes, `files/get_metadata` for one. `null` is the argument of those that have none. */
  async ask(route: string, arg: object | null, options: RequestOptions = {}): Promise<unknown> {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify(arg);
    return (await this.http.post(`${this.hosts.api}/2/${route}`, { headers, ...options, body })).json();
  }

  /** A request that sends bytes. */
  send(route: string, arg: object, options: RequestOptions = {}): Promise<BufferedResponse> {
    const headers = {
      'content-type': 'application/octet-stream',
      'dropbox-api-arg': toHeader(arg),
      ...options.headers,
    };
    return this.http.post(`${this.hosts.content}/2/${route}`, { ...options, headers });
  }

  /** A range of a file, by its path or as `rev:...`. */
  stream(path: string, options: StreamOptions): Promise<Readable> {
    const headers = { 'dropbox-api-arg': toHeader({ path }) };
    return this.http.stream(`${this.hosts.content}/2/files/download`, { ...options, headers });
  }

  /** A small file. */
  async get(path: string, signal?: AbortSignal): Promise<Buffer> {
    const headers = { 'dropbox-api-arg': toHeader({ path }) };
    return (await this.http.get(`${this.hosts.content}/2/files/download`, { headers, signal })).bytes;
  }
}

/** JSON for a header: ASCII without control characters ("Text encoding"). */
function toHeader(value: object): string {
  return JSON.stringify(value).replace(
    /[\x7f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
