/**
 * GitLab: images as generic packages of a project, which store.ts reads and writes, and in the artifacts of jobs, which artifacts.ts
 * reads.
 */
import { isError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { type Backend, defineDriver, type SearchQuery } from '../backend.ts';
import { createHttpClient, type Headers } from '../http.ts';
import { folderAddress } from '../kit/http-files.ts';
import { createLayout } from '../kit/layout.ts';
import { imagesOf } from '../kit/search.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { artifactOf, readArtifact, resolveArtifact } from './artifacts.ts';
import { declaration } from './declaration.ts';
import { packageStore } from './store.ts';

/** How tokens begin, unless a server has another prefix for them ("Token prefixes"). */
const DEPLOY = /^gldt-/;
const JOB = /^glcbt-/;

export default defineDriver({
  ...declaration,
  create({ name, options, env }): Backend {
    const { token, tokenType, project, folder = '' } = options;
    const base = folderAddress(options.base ?? declaration.options.base.default);
    const http = createHttpClient({
      base: new URL('api/v4/', base),
      env,
      headers: tokenHeader(token, tokenType),
      hints: {
        UNAUTHORIZED: `the token has expired or is of another server: \`sregistry auth login ${name}\``,
        FORBIDDEN: 'a personal token needs the scope api, a deploy token write_package_registry',
      },
    });
    const ofProject = project?.replace(/^\/+|\/+$/g, '') || undefined;
    const packages = storeBackend(packageStore(http, base, ofProject), createLayout(), {
      name,
      driver: declaration.name,
      defaultCollection: '',
      http: () => http,
    });
    return {
      ...packages,
      ...(ofProject === undefined && {
        search: ({ query, labels }: SearchQuery, signal?: AbortSignal) =>
          imagesOf(inProject(packages, query, signal), labels, (name) => packages.resolve(name, signal)),
      }),
      resolve: (image, signal) => {
        const artifact = artifactOf(image);
        return artifact === undefined
          ? packages.resolve(image, signal)
          : resolveArtifact(http, folder, image, artifact, signal);
      },
      read: (image, offset, length, signal) =>
        'artifact' in image.handle
          ? readArtifact(http, image, { offset, length, signal })
          : packages.read(image, offset, length, signal),
    };
  },
});

/** What a query finds that begins with a project, as it must in the Python client: all of it, or the images that begin so. */
async function* inProject(packages: Backend, query: string, signal?: AbortSignal): AsyncGenerator<ImageName> {
  const slash = query.lastIndexOf('/');
  const start = query.slice(slash + 1);
  const places: [project: string, image: string][] = [[query, '']];
  if (query.indexOf('/') < slash) places.push([query.slice(0, slash), start]);
  for (const [project, image] of places) {
    try {
      for await (const entry of packages.list(project, signal))
        if (entry.kind === 'image' && entry.name.image.startsWith(image)) yield entry.name;
      return;
    } catch (error) {
      if (!isError(error, 'NOT_FOUND')) throw error;
    }
  }
}

function tokenHeader(token: string, type = 'auto'): Headers {
  if (type === 'deploy' || (type === 'auto' && DEPLOY.test(token))) return { 'deploy-token': token };
  if (type === 'job' || (type === 'auto' && JOB.test(token))) return { 'job-token': token };
  return { 'private-token': token };
}
