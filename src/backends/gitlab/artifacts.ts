/**
 * Images in the artifacts of jobs, as the Python client names them: `<job id>,<group>/<project>[,<job name>]:<tag>` is the file
 * `<folder>/Singularity.<tag>.simg`, or `Singularity.simg` for the tag latest. Artifacts of a job never change. GitLab sends the file as a
 * whole ("Job artifacts API", a single file by job id), and may not state its size.
 */
import type { Readable } from 'node:stream';
import { folderOf, type ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../backend.ts';
import { type HttpClient, uriEncode } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { goneIsStale, unreadableHandle } from '../kit/stale.ts';

export interface Artifact {
  readonly job: string;
  readonly project: string;
}

/** The artifact that a name means; undefined for the name of a package. */
export function artifactOf(name: ImageName): Artifact | undefined {
  const path = [folderOf(name), name.image].filter(Boolean).join('/');
  const [, job, project] = /^(\d{1,18}),([^,]+)(?:,[^,/]*)?$/.exec(path) ?? [];
  return job === undefined || project === undefined ? undefined : { job, project };
}

const fileOf = (tag: string) => (tag === 'latest' ? 'Singularity.simg' : `Singularity.${tag}.simg`);

export async function resolveArtifact(
  http: HttpClient,
  folder: string,
  name: ImageName,
  { job, project }: Artifact,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const parts = [...folder.split('/'), fileOf(name.tag)].filter(Boolean).map(uriEncode);
  const path = `projects/${uriEncode(project)}/jobs/${job}/artifacts/${parts.join('/')}`;
  const size = await unlessAbsent(sizeOf(http, path, signal));
  if (size === undefined) return undefined;
  const handle = { artifact: path };
  return { name, size, revision: `${job} ${size}`, extension: 'simg', sequential: true, handle };
}

async function sizeOf(http: HttpClient, path: string, signal?: AbortSignal): Promise<number> {
  const { headers } = await http.head(path, { headers: { 'accept-encoding': 'identity' }, signal });
  if (/^\d{1,15}$/.test(headers['content-length'] ?? '')) return Number(headers['content-length']);
  let size = 0;
  for await (const chunk of await http.stream(path, { sequential: true, signal })) size += chunk.length;
  return size;
}

export async function readArtifact(
  http: HttpClient,
  { handle, size: total }: RemoteImage,
  { offset, length, signal }: { offset: number; length: number; signal?: AbortSignal | undefined },
): Promise<Readable> {
  const path = handle.artifact;
  if (typeof path !== 'string' || !path.startsWith('projects/')) throw unreadableHandle('GitLab');
  return http.stream(path, { offset, length, total, sequential: true, signal }).catch((error: unknown) => {
    throw goneIsStale(error, path);
  });
}
