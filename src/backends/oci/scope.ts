/** What a request needs to be allowed, in the words of the token specification ("Requesting a token", distribution docs). */

const REPOSITORY_PATH = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\/[^?]*$/;

/**
 * The scopes of a request to a registry: `repository:demo/large:pull`, `registry:catalog:*`. None for `/v2/` itself. A mount
 * from another repository needs to pull there, too.
 */
export function scopesOf(method: string, url: URL): string[] {
  if (url.pathname === '/v2/_catalog') return ['registry:catalog:*'];
  const repository = REPOSITORY_PATH.exec(url.pathname)?.[1];
  if (repository === undefined) return [];
  const from = url.searchParams.get('mount') === null ? null : url.searchParams.get('from');
  return [
    `repository:${repository}:${actionsOf(method)}`,
    ...(from === null ? [] : [`repository:${from}:pull`]),
  ];
}

function actionsOf(method: string): string {
  if (method === 'GET' || method === 'HEAD') return 'pull';
  return method === 'DELETE' ? 'delete' : 'pull,push';
}
