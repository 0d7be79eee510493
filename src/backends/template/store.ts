/**
 * Steps 2 to 6: the service as a store of files. `storeBackend` builds the backend from it and adds names, listing, search, metadata in
 * a sidecar, verification after a push, and STALE. ../kit/store.ts documents each method.
 */
import { SregistryError } from '../../base/errors.ts';
import { toStrings } from '../../image/attributes.ts';
import type { HttpClient } from '../http.ts';
import { httpFiles } from '../kit/http-files.ts';
import type { Page, Store } from '../kit/store.ts';

export function createStore(http: HttpClient, base: URL): Store {
  // Pull: `httpFiles` provides `stat` and `open` by HEAD and ranged GET, `getSmall` and `putSmall` for the sidecar, and `remove`. If
  // your service uses other requests, write these methods yourself.
  const files = httpFiles(http, base);
  const { urlOf, stat } = files;
  return {
    ...files,
    hasFolders: true,

    // Push: a push succeeds only when the service confirms that it has the file.
    put: async (key, file, { ifAbsent, signal }) => {
      await http.put(urlOf(key), {
        body: file.open,
        headers: {
          'content-length': String(file.size),
          'repr-digest': reprDigest(file.digest),
          ...(ifAbsent && { 'if-none-match': '*' }),
        },
        // A large image may take hours, so only a stall ends the request.
        timeout: Number.POSITIVE_INFINITY,
        signal,
      });
      const stored = await stat(key, signal);
      if (stored !== undefined) return stored;
      throw new SregistryError('STALE', `${urlOf(key).href} was removed while it was pushed`);
    },

    // List: if your service lists in pages, use `for await (const page of http.paginate(url)) yield ...`
    list: async function* (folder, signal): AsyncGenerator<Page> {
      const url = urlOf(folder);
      const listed = (await http.get(url, { signal })).json();
      if (!Array.isArray(listed))
        throw new SregistryError('SERVICE', `${url.href}: the server sent a malformed listing`);
      // Do not trust the service: use only entries of the right shape.
      const entries = listed.map(toStrings);
      const named = (wanted: string) =>
        entries.flatMap(({ name, type }) => (name !== undefined && type === wanted ? [name] : []));
      yield { folders: named('directory'), files: named('file').map((name) => ({ key: folder + name })) };
    },

    // Share: each further ability of the service is one more method of the store. Refuse options that the server cannot fulfil: a
    // link that should expire must expire.
    link: async ({ key }, { email, expires }) => {
      if (email === undefined && expires === undefined) return urlOf(key).href;
      throw new SregistryError('UNSUPPORTED', `${urlOf(key).href} is a permanent address for everyone`, {
        hint: 'share it without --email and --expires',
      });
    },

    check: async (signal) => {
      await http.get(base, { signal });
    },
  };
}

/** The header Repr-Digest (RFC 9530 section 3). A server that supports it refuses damaged bytes. */
function reprDigest(digest: string): string {
  return `sha-256=:${Buffer.from(digest.replace('sha256:', ''), 'hex').toString('base64')}:`;
}
