/** The numbers of SIF descriptors and the names used for them here (github.com/apptainer/sif, pkg/sif/sif.go). */

export const DATA_TYPES = {
  16385: 'deffile',
  16386: 'environment',
  16387: 'labels',
  16388: 'partition',
  16389: 'signature',
  16390: 'json',
  16391: 'generic',
  16392: 'crypto-message',
  16393: 'sbom',
  16394: 'oci-root-index',
  16395: 'oci-blob',
} as const;

export const FILE_SYSTEMS = {
  1: 'squashfs',
  2: 'ext3',
  3: 'archive',
  4: 'raw',
  5: 'encrypted-squashfs',
  6: 'gocryptfs-squashfs',
} as const;

export const PARTITION_TYPES = { 1: 'system', 2: 'primary', 3: 'data', 4: 'overlay' } as const;

export const HASHES = { 1: 'sha256', 2: 'sha384', 3: 'sha512', 4: 'blake2s256', 5: 'blake2b256' } as const;

export const MESSAGE_FORMATS = { 1: 'openpgp', 2: 'pem' } as const;
export const MESSAGE_TYPES = { 256: 'clear-signature', 512: 'rsa-oaep' } as const;

export const SBOM_FORMATS = {
  1: 'cyclonedx-json',
  2: 'cyclonedx-xml',
  3: 'github-json',
  4: 'spdx-json',
  5: 'spdx-rdf',
  6: 'spdx-tag-value',
  7: 'spdx-yaml',
  8: 'syft-json',
} as const;

/** Go's names of architectures, by SIF's two digits. */
export const ARCHITECTURES = {
  '01': '386',
  '02': 'amd64',
  '03': 'arm',
  '04': 'arm64',
  '05': 'ppc64',
  '06': 'ppc64le',
  '07': 'mips',
  '08': 'mipsle',
  '09': 'mips64',
  '10': 'mips64le',
  '11': 's390x',
  '12': 'riscv64',
} as const;

export type Named<T> = T[keyof T] | 'unknown';

/** The name of `code`, `unknown` where the table has none: a later SIF may know more. */
export function lookUp<T extends object>(names: T, code: number | string): T[keyof T] | 'unknown' {
  return Object.hasOwn(names, code) ? ((names as Record<string, T[keyof T]>)[code] as T[keyof T]) : 'unknown';
}

/** The code of a name in one of these tables; undefined if SIF has none for it. */
export function codeOf(names: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.keys(names).find((code) => names[code] === name);
}
