/**
 * Where an image is among a project's generic packages: the collection and the image are the package's name, the tag is its version, and
 * the file is `<image>.<extension>`. GitLab allows letters, digits, `.`, `-` and `_` there; `__` stands for a slash, and `_.2b` for a
 * byte that is not allowed.
 */
import { parseEntry } from '../kit/layout.ts';

export interface PackagePlace {
  /** Path of the project. */
  readonly project: string;
  readonly name: string;
  readonly version: string;
  readonly file: string;
}

/** The place of a key (`lab/hello:1.0.sif`, or a sidecar's); undefined if it is not an image's. */
export function placeOf(key: string, project: string | undefined): PackagePlace | undefined {
  const side = key.endsWith('.json') ? '.json' : '';
  const bare = key.slice(0, key.length - side.length);
  const slash = bare.lastIndexOf('/');
  const folder = bare.slice(0, slash + 1);
  const entry = parseEntry(bare.slice(slash + 1));
  if (entry === undefined || (project === undefined && folder === '')) return undefined;
  const { image, tag, version, extension } = entry;
  return {
    project: project ?? folder.slice(0, -1),
    name: encode(project === undefined ? image : folder + image),
    version: encode(version === undefined ? tag : `${tag}@${version}`),
    file: `${encode(image)}.${extension}${side}`,
  };
}

/** What stands before a file's extension in a key, by the names of its package; undefined if they are not an image's. */
export function stemOf(name: string, version: string): { path: string; stem: string } | undefined {
  const [path, tag] = [decode(name), decode(version)];
  if (path === undefined || tag === undefined) return undefined;
  return { path, stem: `${path}:${tag}` };
}

/** An underscore stands for itself before these. */
const PLAIN = /^[A-Za-z0-9-]$/;

export function encode(text: string): string {
  const characters = [...text];
  return characters
    .map((one, index) => {
      if (PLAIN.test(one)) return one;
      if (one === '/') return '__';
      const next = characters[index + 1];
      if (one === '_' && (next === undefined || PLAIN.test(next))) return one;
      // GitLab refuses two dots in a row.
      if (one === '.' && index > 0 && !['.', '/'].includes(characters[index - 1] as string)) return one;
      return [...Buffer.from(one)].map((byte) => `_.${byte.toString(16).padStart(2, '0')}`).join('');
    })
    .join('');
}

/** Undefined for a name that {@link encode} does not make: two packages are never one image. */
export function decode(text: string): string | undefined {
  const bytes = [...text.matchAll(/__|_\.([0-9a-f]{2})|./gsu)].map(([all, hex]) => {
    if (hex !== undefined) return Buffer.from(hex, 'hex');
    return Buffer.from(all === '__' ? '/' : all);
  });
  const decoded = Buffer.concat(bytes).toString();
  return encode(decoded) === text ? decoded : undefined;
}
