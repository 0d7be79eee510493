/** The package for Debian and Ubuntu. It brings Node, as Debian 12's is too old, and uses the system's libfuse 2. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { neededGlibc } from './glibc.ts';
import { stage } from './stage.ts';
import { type Architecture, type Missing, type PackageRequest, ROOT, releaseDate } from './target.ts';

const DEBIAN: Record<Architecture, string> = { x64: 'amd64', arm64: 'arm64' };

/** As Debian's tools take it from the environment. */
const { DEBFULLNAME = 'sregistry', DEBEMAIL = 'sregistry@localhost.localdomain' } = process.env;
const MAINTAINER = `${DEBFULLNAME} <${DEBEMAIL}>`;

/** Makes `<folder>/sregistry_VERSION_ARCH.deb`. */
export async function makeDeb({
  folder,
  version,
  architecture,
  level,
}: PackageRequest): Promise<{ file: string; missing: Missing[] }> {
  const work = mkdtempSync(join(tmpdir(), 'sregistry-package-'));
  const put = (path: string, content: string | Buffer, mode = 0o644) => {
    mkdirSync(dirname(join(work, path)), { recursive: true });
    writeFileSync(join(work, path), content);
    chmodSync(join(work, path), mode);
  };
  try {
    const options = { architectures: [architecture], node: true, libfuse: false, types: false };
    const missing = await stage(join(work, 'usr/lib/sregistry'), options);
    mkdirSync(join(work, 'usr/bin'));
    symlinkSync('../lib/sregistry/bin/sregistry', join(work, 'usr/bin/sregistry'));
    mkdirSync(join(work, 'usr/sbin'));
    symlinkSync('../lib/sregistry/share/mount.fuse.sregistry', join(work, 'usr/sbin/mount.fuse.sregistry'));
    for (const kind of ['system', 'user']) {
      const unit = `systemd/${kind}/sregistry@.service`;
      put(`usr/lib/${unit}`, readFileSync(join(work, 'usr/lib/sregistry/share', unit)));
    }
    rmSync(join(work, 'usr/lib/sregistry/share/systemd'), { recursive: true });
    const manual = join(work, 'usr/lib/sregistry/share/man');
    for (const path of globSync('man*/*', { cwd: manual }))
      put(`usr/share/man/${path}.gz`, gzipSync(readFileSync(join(manual, path)), { level: 9 }));
    rmSync(manual, { recursive: true });
    put('usr/share/doc/sregistry/copyright', copyright(join(work, 'usr/lib/sregistry')));
    put('usr/share/doc/sregistry/changelog.gz', gzipSync(changelog(version), { level: 9 }));
    const overrides = readFileSync(join(import.meta.dirname, 'debian/lintian-overrides'));
    put('usr/share/lintian/overrides/sregistry', overrides);
    tidy(work);
    put('DEBIAN/md5sums', checksums(work));
    put('DEBIAN/control', control(work, version, architecture));
    const file = join(folder, `sregistry_${version}_${DEBIAN[architecture]}.deb`);
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', `-z${level}`, '--build', work, file], {
      stdio: 'pipe',
    });
    return { file, missing };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The modes that Debian asks for. */
function tidy(work: string): void {
  chmodSync(work, 0o755);
  for (const path of globSync('**', { cwd: work })) {
    const full = join(work, path);
    const stats = statSync(full);
    // Not an addon, which is a library.
    const isProgram = (stats.mode & 0o100) !== 0 && !path.endsWith('.node');
    chmodSync(full, stats.isDirectory() || isProgram ? 0o755 : 0o644);
  }
}

/** Links are not files. */
const filesOf = (work: string) =>
  globSync('usr/**', { cwd: work }).filter((path) => lstatSync(join(work, path)).isFile());

function checksums(work: string): string {
  const sum = (path: string) =>
    createHash('md5')
      .update(readFileSync(join(work, path)))
      .digest('hex');
  return filesOf(work)
    .sort()
    .map((path) => `${sum(path)}  ${path}\n`)
    .join('');
}

function control(work: string, version: string, architecture: Architecture): string {
  const bytes = filesOf(work).reduce((sum, path) => sum + statSync(join(work, path)).size, 0);
  return `Package: sregistry
Version: ${version}
Architecture: ${DEBIAN[architecture]}
Maintainer: ${MAINTAINER}
Installed-Size: ${Math.ceil(bytes / 1024)}
Depends: libc6 (>= ${neededGlibc(join(work, 'usr/lib/sregistry'))}), libgcc-s1, libstdc++6, libfuse2 | libfuse2t64, fuse3 | fuse
Suggests: apptainer | singularity-container
Section: science
Priority: optional
Description: mount of container registries
 Shows the Singularity and Apptainer images of every kind of container registry
 as files in folders. Reading an image fetches only the bytes that are read,
 into a cache on local disk. Copying an image into the mount publishes it.
 .
 The package contains the Node.js that it runs on.
`;
}

/** Names each package with its licence. The texts lie in full beside what they are for. */
function copyright(application: string): string {
  const own = readFileSync(join(ROOT, 'LICENSE'), 'utf8').trim();
  const texts = readFileSync(join(application, 'dist/LICENCES.txt'), 'utf8');
  const others = [...texts.matchAll(/^={78}\n(.*)$/gm)].map(([, title]) => `  ${title}`);
  return `sregistry

${own}

It contains these packages. /usr/lib/sregistry/dist/LICENCES.txt has the text of each licence. Of
openpgp's, Debian has it as /usr/share/common-licenses/LGPL-3 as well:

${others.join('\n')}

It contains Node.js. /usr/lib/sregistry/LICENSE.node has its licence and those of its parts.
`;
}

function changelog(version: string): string {
  const date = releaseDate().toUTCString().replace('GMT', '+0000');
  return `sregistry (${version}) stable; urgency=medium\n\n  * See CHANGELOG.md of sregistry.\n\n -- ${MAINTAINER}  ${date}\n`;
}
