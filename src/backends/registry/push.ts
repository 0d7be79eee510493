/**
 * Pushes images, in two steps: `POST api/upload/chunked_upload` names the image and returns the id of its collection, which it creates;
 * `POST upload` is a form with the file. Both answers have to be read: the second is 200 whether the image was stored or not, and a
 * user who does not own the collection is told that all is well while nothing is stored. So the manifest is fetched afterwards.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { hashFile } from '../../base/hash.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { isJsonObject } from '../../settings/json.ts';
import type { ImageFile, PushOptions, RemoteImage } from '../backend.ts';
import type { BufferedResponse } from '../http.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import { formBody } from '../kit/form-body.ts';
import { onlyForward } from '../kit/progress.ts';
import { sendSigned } from './api.ts';
import { fetchManifest, type Server, sequentialImage } from './images.ts';
import { requireSubject, type Subject } from './names.ts';

/** Milliseconds for the server to store a large file after its last byte. */
const STORE_TIMEOUT = 600_000;

export async function pushImage(
  { api, sizes }: Server,
  file: ImageFile,
  name: ImageName,
  { progress, signal, ifAbsent }: PushOptions = {},
): Promise<RemoteImage> {
  const subject = requireSubject(name);
  const { base, root, http } = api;
  const what = `${base.host}: ${formatImageName(name)}`;
  const { sha256, md5 } = await hashFile(file.path, ['sha256', 'md5'], { signal }).catch((error) => {
    throw isError(error) ? error : fileError('read', file.path, error);
  });
  const before = ifAbsent ? await fetchManifest(api, subject, signal) : undefined;
  if (before !== undefined) throw new SregistryError('EXISTS', `${what} exists`);

  const { collection, image, tag } = subject;
  const opened = await sendSigned(api, 'push', subject, (headers) =>
    http.post('upload/chunked_upload', {
      json: { collection, name: image, tag },
      headers,
      allow: [403],
      signal,
    }),
  );
  const forward = onlyForward(progress);
  const uploaded = await sendSigned(api, 'upload', subject, (headers) => {
    const fields = {
      SREGISTRY_EVENT: headers.authorization ?? '',
      name: image,
      collection: collectionId(opened),
      tag,
    };
    const form = formBody(
      fields,
      { field: 'file1', name: `${image}:${tag}.sif`, path: file.path, size: file.size },
      forward,
    );
    const options = {
      headers: { ...form.headers, ...headers },
      body: form.body,
      stall: STORE_TIMEOUT,
      signal,
    };
    return http.post(new URL('upload', root), {
      ...options,
      timeout: Number.POSITIVE_INFINITY,
      allow: [403],
    });
  });
  checkMessage(what, uploaded);
  const stored = await fetchManifest(api, subject, signal);
  if (stored === undefined) throw notStored(what, subject);
  if (![md5, `sha256.${sha256}`].includes(stored.version)) throw otherBytes(what, stored.version);
  const pushed = { id: stored.id, digest: `sha256:${sha256}` };
  await sizes.remember(pushed, file.size);
  forward(file.size, file.size);
  return sequentialImage(name, subject, pushed, file.size);
}

function collectionId(reply: BufferedResponse): string {
  const body = reply.json();
  const id = isJsonObject(body) ? body.cid : undefined;
  if (typeof id === 'number' || typeof id === 'string') return String(id);
  throw new SregistryError('SERVICE', 'the registry server did not tell the id of the collection to push to');
}

/** The only message of success. */
const SUCCESS = 'Upload Complete';

function checkMessage(what: string, reply: BufferedResponse): void {
  const body = reply.json();
  const message = isJsonObject(body) ? String(body.message ?? body.detail ?? '') : '';
  if (message === SUCCESS) return;
  const said = message.replace(/\p{Cc}+/gu, ' ').slice(0, 200);
  if (/already exists/i.test(message))
    throw new SregistryError('EXISTS', `${what} is frozen: ${said}`, { hint: 'push it under another tag' });
  throw new SregistryError('SERVICE', `${what} was not stored: ${said || 'the server does not say why'}`);
}

function notStored(what: string, { collection }: Subject): SregistryError {
  return new SregistryError('FORBIDDEN', `${what} was sent, but the server did not store it`, {
    hint: `only the owners of the collection ${collection} can push to it: ask one of them to add you`,
  });
}

function otherBytes(what: string, version: string): SregistryError {
  return changedWhilePushed(
    `${what}: the server has other bytes than were sent (version ${version.slice(0, 80)})`,
  );
}
