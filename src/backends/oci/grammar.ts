/**
 * What may be a repository, a tag and a digest. From the OCI distribution specification 1.1 ("Pulling manifests"), the image
 * specification 1.1 ("Digests") and, for the length of a repository, Docker's reference grammar. What a registry sends is
 * held to it before it becomes part of a path.
 */
const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const REPOSITORY_MAX = 255;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export function isRepository(text: string): boolean {
  return text.length <= REPOSITORY_MAX && REPOSITORY.test(text);
}

export function isTag(text: string): boolean {
  return TAG.test(text);
}

/** Of the two algorithms that the specification registers. */
export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}
