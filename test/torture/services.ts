/** The registries past the proxy: what they really hold, and a way to move a tag that no mount knows of. */
import { createHash } from 'node:crypto';
import pRetry, { AbortError } from 'p-retry';

export interface Service {
  /** Name of the backend, and of the first folder in a mount. */
  readonly name: string;
  /** sha256 in hex of what the tag holds; undefined where there is none. */
  digest(image: string): Promise<string | undefined>;
  put(image: string, bytes: Buffer): Promise<void>;
}

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

const RETRIES = { retries: 4, minTimeout: 100 } as const;

/** Milliseconds. */
const LIMIT = 60_000;

/** The services are real ones, which fail now and then under such load (moto with 500): such a request is made again. */
function ask(url: string, init: RequestInit = {}): Promise<Response> {
  return pRetry(async () => {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(LIMIT) });
    if (response.ok || response.status === 404) return response;
    const error = new Error(`${init.method ?? 'GET'} ${url}: ${response.status} ${await response.text()}`);
    throw response.status >= 500 ? error : new AbortError(error);
  }, RETRIES);
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const LAYER = 'application/vnd.sylabs.sif.layer.v1.sif';
const CONFIG = 'application/vnd.sylabs.sif.config.v1+json';

/** An OCI registry, images as `apptainer push oras://` stores them. */
export function ociService(url: string, name: string): Service {
  const upload = async (image: string, bytes: Buffer) => {
    const digest = `sha256:${sha256(bytes)}`;
    const begun = await ask(`${url}/v2/demo/${image}/blobs/uploads/`, { method: 'POST' });
    await begun.arrayBuffer();
    const location = new URL(begun.headers.get('location') ?? '', url);
    location.searchParams.set('digest', digest);
    await (await ask(location.href, { method: 'PUT', body: new Uint8Array(bytes) })).arrayBuffer();
    return { digest, size: bytes.length };
  };
  return {
    name,
    digest: async (image) => {
      const response = await ask(`${url}/v2/demo/${image}/manifests/1`, { headers: { accept: MANIFEST } });
      const text = await response.text();
      if (response.status === 404) return undefined;
      const { layers } = JSON.parse(text) as { layers: { digest: string }[] };
      const digest = layers[0]?.digest ?? '';
      const blob = await ask(`${url}/v2/demo/${image}/blobs/${digest}`, { method: 'HEAD' });
      return blob.ok ? digest.replace('sha256:', '') : `a manifest whose blob ${digest} is missing`;
    },
    put: async (image, bytes) => {
      const layer = { mediaType: LAYER, ...(await upload(image, bytes)) };
      const config = { mediaType: CONFIG, ...(await upload(image, Buffer.from('{}'))) };
      const body = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] });
      const headers = { 'content-type': MANIFEST };
      await ask(`${url}/v2/demo/${image}/manifests/1`, { method: 'PUT', headers, body });
    },
  };
}

/** moto looks whether a request is signed, and not at the signature. */
const SIGNED = {
  authorization:
    'AWS4-HMAC-SHA256 Credential=tester/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0',
};

/** An S3 bucket, images as `sregistry push` stores them. */
export function s3Service(url: string, bucket: string, name: string): Service {
  const address = (image: string, extension: string) => `${url}/${bucket}/demo/${image}%3A1.${extension}`;
  return {
    name,
    digest: async (image) => {
      // Of several objects for one image, the first of these counts.
      for (const extension of ['sif', 'simg', 'img']) {
        const response = await ask(address(image, extension), { headers: SIGNED });
        const bytes = Buffer.from(await response.arrayBuffer());
        if (response.status !== 404) return sha256(bytes);
      }
      return undefined;
    },
    put: async (image, bytes) => {
      const headers = { ...SIGNED, 'x-amz-meta-sha256': sha256(bytes) };
      const body = new Uint8Array(bytes);
      await (await ask(address(image, 'sif'), { method: 'PUT', headers, body })).arrayBuffer();
    },
  };
}
