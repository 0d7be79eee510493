/**
 * Step 2 and those after it: the service as a store of files. `storeBackend` makes the backend of it: names, listing, search,
 * metadata in a sidecar, what is verified after a push, STALE. ../kit/store.ts says what each method promises.
 */
import { SregistryError } from '../../base/errors.ts';
import { toStrings } from '../../image/attributes.ts';
import type { HttpClient } from '../http.ts';
import { httpFiles } from '../kit/http-files.ts';
import type { Page, Store } from '../kit/store.ts';

export function createStore(http: HttpClient, base: URL): Store {
  // Pull: `stat` and `open` by HEAD and ranged GET, with the sidecar's `getSmall`, `putSmall`, and `remove`. A service with
  // requests of its own for these has methods of its own here.
  const files = httpFiles(http, base);
  const { urlOf, stat } = files;
  return {
    ...files,
    hasFolders: true,

    // Push: a push succeeds when the service has the file and says so, and not before.
    put: async (key, file, { ifAbsent, signal }) => {
      await http.put(urlOf(key), {
        body: file.open,
        headers: {
          'content-length': String(file.size),
          'repr-digest': reprDigest(file.digest),
          ...(ifAbsent && { 'if-none-match': '*' }),
        },
        // A large image may take hours: what ends it is a stall.
        timeout: Number.POSITIVE_INFINITY,
        signal,
      });
      const stored = await stat(key, signal);
      if (stored !== undefined) return stored;
      throw new SregistryError('STALE', `${urlOf(key).href} was removed while it was pushed`);
    },

    // List: for a listing in pages, `for await (const page of http.paginate(url)) yield ...`
    list: async function* (folder, signal): AsyncGenerator<Page> {
      const url = urlOf(folder);
      const listed = (await http.get(url, { signal })).json();
      if (!Array.isArray(listed))
        throw new SregistryError('SERVICE', `${url.href}: the answer is no listing`);
      // What a service sends is anyone's: only what has the right shape is used.
      const entries = listed.map(toStrings);
      const named = (wanted: string) =>
        entries.flatMap(({ name, type }) => (name !== undefined && type === wanted ? [name] : []));
      yield { folders: named('directory'), files: named('file').map((name) => ({ key: folder + name })) };
    },

    // Share, and what else the service can do: each is one more property of the store. What is asked for and cannot be
    // given is an error: a link that should expire must.
    link: async ({ key }, { email, expires }) => {
      if (email === undefined && expires === undefined) return urlOf(key).href;
      throw new SregistryError('UNSUPPORTED', `${urlOf(key).href} is for everyone and for good`, {
        hint: 'share it without a person and without an end',
      });
    },

    check: async (signal) => {
      await http.get(base, { signal });
    },
  };
}

/** RFC 9530 section 3: a server that knows it refuses bytes that were damaged on the way. */
function reprDigest(digest: string): string {
  return `sha-256=:${Buffer.from(digest.replace('sha256:', ''), 'hex').toString('base64')}:`;
}
