/**
 * Platforms: what a machine runs, and which of the images of one name is for it. Names are Go's, as in the OCI image specification 1.1
 * ("Image Index", `platform`). What counts as equal, and which variants run on which, is as in containerd (`containerd/platforms`,
 * `database.go` and `compare.go`); an image for another architecture never stands in, even where a machine could run it.
 */
import { endianness } from 'node:os';
import process from 'node:process';
import { SregistryError } from './errors.ts';
import { nearest } from './nearest.ts';

export interface Platform {
  /** `linux` */
  readonly os: string;
  /** As Go names it: `amd64`. */
  readonly architecture: string;
  /** `v7` of `arm`; undefined for an architecture's plain form, such as `v8` of `arm64`. */
  readonly variant?: string | undefined;
}

/** Architectures that Go knows for Linux. */
const ARCHITECTURES = [
  '386',
  'amd64',
  'arm',
  'arm64',
  'loong64',
  'mips',
  'mips64',
  'mips64le',
  'mipsle',
  'ppc64',
  'ppc64le',
  'riscv64',
  's390x',
];

/** Other names: those of `uname -m`, of Debian and of Node. */
const ALIASES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  x86_64: 'amd64',
  'x86-64': 'amd64',
  ia32: '386',
  i386: '386',
  i686: '386',
  aarch64: 'arm64',
  armhf: 'arm/v7',
  armel: 'arm/v6',
  armv6l: 'arm/v6',
  armv7l: 'arm/v7',
  loongarch64: 'loong64',
  mipsel: 'mipsle',
  mips64el: 'mips64le',
  ppc64el: 'ppc64le',
};

/**
 * A platform of Linux as people write it: `amd64`, `x86_64`, `arm/v7`, `linux/arm64`.
 * @throws {SregistryError} USAGE if there is no such architecture.
 */
export function parsePlatform(text: string): Platform {
  const written = text.toLowerCase().replace(/^linux\//, '');
  const [architecture = '', variant, ...more] = (ALIASES[written] ?? written).split('/');
  const known = ALIASES[architecture] ?? architecture;
  const isKnown = ARCHITECTURES.includes(known) && more.length === 0;
  if (isKnown && (variant === undefined || /^v?[0-9a-z.]+$/.test(variant)))
    return canonical({ os: 'linux', architecture: known, variant });
  const meant = nearest(architecture, [...ARCHITECTURES, ...Object.keys(ALIASES)]);
  throw new SregistryError('USAGE', `"${text}" is not an architecture`, {
    hint:
      meant === undefined || meant === architecture
        ? `It is one of ${ARCHITECTURES.join(', ')}, or one with a variant, such as arm/v7`
        : `Did you mean ${meant}?`,
  });
}

/** What this machine runs. */
export function hostPlatform(): Platform {
  const { arch, config } = process;
  const name = arch === 'ppc64' && endianness() === 'LE' ? 'ppc64le' : arch;
  const { arm_version: version } = config.variables as { readonly arm_version?: string };
  return canonical({ os: 'linux', architecture: name, variant: arch === 'arm' ? version : undefined });
}

/** The platform to choose images for: that of a text which {@link parsePlatform} takes, else this machine's. */
export function platformFor(arch: string | undefined): Platform {
  return arch === undefined ? hostPlatform() : parsePlatform(arch);
}

/** `linux/arm/v7` */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter(Boolean).join('/');
}

/** As `--arch` takes it: `arm/v7`. */
export function formatArchitecture({ architecture, variant }: Platform): string {
  return [architecture, variant].filter(Boolean).join('/');
}

/** How well a machine runs an image: 0 is best, more is worse; undefined if not at all. Takes the image's platform as it is stated. */
export function fitOf(machine: Platform, image: Platform): number | undefined {
  const { os, architecture, variant } = canonical(image);
  if (os !== machine.os || architecture !== machine.architecture) return undefined;
  const place = variantsFor(machine).indexOf(variant);
  return place === -1 ? undefined : place;
}

/** One spelling for each platform. */
function canonical({ os, architecture, variant }: Platform): Platform {
  const written = architecture.toLowerCase();
  const [name = '', implied] = (ALIASES[written] ?? written).split('/');
  const spelt = variant?.toLowerCase().replace(/^(?=\d)/, 'v') || implied || PLAIN[name];
  const isPlain = name !== 'arm' && spelt === PLAIN[name];
  return { os: os.toLowerCase(), architecture: name, ...(spelt && !isPlain && { variant: spelt }) };
}

/** The variant that is meant where none is stated. That of `arm` is always stated. */
const PLAIN: Readonly<Record<string, string>> = { amd64: 'v1', arm: 'v7', arm64: 'v8' };

/** The variants that run on a machine, best first. */
function variantsFor({ architecture, variant }: Platform): (string | undefined)[] {
  const [, major, minor] = /^v(\d{1,2})(?:\.(\d))?$/.exec(variant ?? '') ?? [];
  if (major === undefined) return [variant];
  if (architecture === 'amd64') return [...down(+major, 2).map((n) => `v${n}`), undefined];
  if (architecture === 'arm') return down(+major, 5).map((n) => `v${n}`);
  if (architecture !== 'arm64') return [variant];
  const ninth = down(+(minor ?? 0), 0).map((n) => (n === 0 ? 'v9' : `v9.${n}`));
  // 9.0 runs what 8.5 does, 9.1 what 8.6 does, and so on.
  const eighth = down(+(minor ?? 0) + (major === '9' ? 5 : 0), 1).map((n) => `v8.${n}`);
  return [...(major === '9' ? ninth : []), ...eighth, undefined];
}

/** The whole numbers from `from` down to `to`. */
function down(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, from - to + 1) }, (_, index) => from - index);
}
