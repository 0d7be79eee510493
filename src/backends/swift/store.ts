/** An account as a store. A container is the top folder of its objects, and an object's entity tag the revision. */
import { SregistryError } from '../../base/errors.ts';
import type { Store } from '../kit/store.ts';
import type { Account } from './account.ts';
import { copyObject } from './copy.ts';
import { METADATA } from './metadata.ts';
import { headObject, listFolder, type ObjectRef, opaque, openObject } from './objects.ts';
import { putObject, putSmall } from './put.ts';
import { shareObject } from './share.ts';

export function accountStore(account: Account): Store {
  return {
    target: account.target,
    metadata: METADATA,
    hashes: ['md5'],
    hasFolders: true,
    show: (key) => account.show(key),
    stat: (key, signal) => headObject(account, key, signal),
    list: (folder, signal) => listFolder(account, folder, signal),
    open: (ref, range) => openObject(account, ref, range),
    put: (key, file, options) => putObject(account, key, file, options),
    getSmall: async (key, signal) => (await account.request('GET', key, { signal })).bytes,
    putSmall: (key, bytes, signal) => putSmall(account, key, bytes, signal),
    remove: (ref, signal) => removeObject(account, ref, signal),
    copy: (from, key, options) => copyObject(account, from, key, options),
    link: ({ key }, options, signal) => shareObject(account, key, options, signal),
    isRef: ({ etag, modified }) =>
      [etag, modified].every((one) => one === undefined || typeof one === 'string'),
    check: async (signal) => {
      await account.request('HEAD', '', { signal });
    },
    close: () => account.close(),
  };
}

/** Deletes an object. The service deletes the segments that a manifest names with it. */
async function removeObject(account: Account, { key, etag, modified }: ObjectRef, signal?: AbortSignal) {
  const present = await headObject(account, key, signal, true);
  if (present === undefined) return;
  const isOther =
    etag === undefined
      ? modified && present.ref.modified !== modified
      : opaque(present.ref.etag ?? '') !== opaque(etag);
  if (isOther)
    throw new SregistryError('STALE', `${account.show(key)} has been replaced since it was looked up`);
  if (!present.isSegmented) {
    await account.request('DELETE', key, { allow: [404], signal });
    return;
  }
  const query = { 'multipart-manifest': 'delete' };
  const reply = await account.request('DELETE', key, {
    query,
    headers: { accept: 'application/json' },
    timeout: Number.POSITIVE_INFINITY,
    allow: [404],
    signal,
  });
  // Failures come with status 200.
  const report = /^\s*\{/.test(reply.text()) ? (reply.json() as Record<string, unknown>) : {};
  const errors = Array.isArray(report.Errors) ? report.Errors : [];
  if (errors.length > 0)
    throw new SregistryError('SERVICE', `${account.show(key)}: not all segments were deleted`, {
      hint: JSON.stringify(errors.slice(0, 3)),
    });
}
