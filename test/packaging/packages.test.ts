/** Each kind of package on a fresh Debian, by an ordinary user: installed, used, and uninstalled as docs/install.md says. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { FreshRoot } from './fresh-root.ts';

const ROOT = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

const IMAGE = 'small-signed.sif';

/** What a user does first. Ends with everything unmounted. */
const USE = `
  sregistry --version
  sregistry backend add shared --driver dir base=/srv/images
  sregistry mount ~/registries
  find ~/registries/shared -name hello*
  cmp ~/registries/shared/lab/hello:1.0.sif /srv/images/lab/hello:1.0.sif && echo same bytes
  sregistry verify ~/registries/shared/lab/hello:1.0.sif --keyring /srv/signer.asc
  sregistry doctor --json > ~/findings.json
  sregistry unmount ~/registries
`;

/** What a user has afterwards that belongs to sregistry. */
const REMOVE_OWN = `
  rm -rf ~/.sregistry ~/.singularity ~/.cache/sregistry ~/.cache/sregistry-code ~/.local/state/sregistry
  rm -rf ~/registries ~/findings.json /tmp/sregistry-$(id -u)
`;

/** What installing anything changes in Debian. */
const OF_DEBIAN = /^\/(?:var\/(?:lib\/(?:dpkg|apt)|cache|log)\/|etc\/ld\.so\.cache$|root\/\.npm\/)/;

let packages: string;
let root: FreshRoot;

/** The one file of a kind that was packaged. */
const packaged = (pattern: string) => {
  const [file] = globSync(pattern, { cwd: packages });
  if (file === undefined) throw new Error(`no ${pattern} was packaged`);
  return join(packages, file);
};

function expectUsed(output: string): void {
  expect(output).toContain(`${version}\n`);
  expect(output).toContain('/home/kim/registries/shared/lab/hello:1.0.sif\n');
  expect(output).toContain('same bytes');
}

beforeAll(async () => {
  packages = mkdtempSync(join(tmpdir(), 'sregistry-packages-'));
  const words = ['packaging/main.ts', '--arch', process.arch, '--level', '1', '--to', packages];
  await promisify(execFile)(process.execPath, words, { cwd: ROOT, timeout: 300_000 });
}, 300_000);
afterAll(() => rmSync(packages, { recursive: true, force: true }));

needs({ root: true, fuse: true, apptainer: true })('on a fresh Debian', () => {
  beforeEach(() => {
    root = new FreshRoot();
    root.put(join(ROOT, 'test/fixtures/images', IMAGE), '/srv/images/lab/hello:1.0.sif');
    root.put(join(ROOT, 'test/fixtures/images/signer.asc'), '/srv/signer.asc');
  });
  afterEach(() => root.remove());

  test('the tarball needs neither Node nor libfuse, only fusermount3, and is gone when its folder is', async () => {
    root.put(packaged('*.tar.gz'), '/srv/sregistry.tar.gz');
    const output = await root.run(`
      rm /usr/bin/fusermount
      as_user '
        mkdir -p ~/.local/bin
        tar -xzf /srv/sregistry.tar.gz -C ~/.local
        ln -s ../sregistry-${version}-linux-${process.arch}/bin/sregistry ~/.local/bin/sregistry
        export PATH=~/.local/bin:$PATH
        ${USE}
        head -n 1 ~/.local/sregistry-*/share/man/man1/sregistry-mount.1
        rm -rf ~/.local/bin/sregistry ~/.local/sregistry-*
        ${REMOVE_OWN}
      '
      ls -A /tmp | sed "s/^/left: /"
    `);
    expectUsed(output);
    expect(output).toContain('.TH "SREGISTRY\\-MOUNT" 1 ');
    expect(output).not.toContain('left: ');
    expect(root.traces()).toEqual(['/usr/bin/fusermount']);
  });

  test('the .deb mounts through mount(8) too, and dpkg removes all of it', async () => {
    root.put(packLibfuse(), '/srv/libfuse2.deb');
    root.put(packaged('sregistry_*.deb'), '/srv/sregistry.deb');
    const output = await root.run(`
      dpkg --install /srv/libfuse2.deb /srv/sregistry.deb
      zcat /usr/share/man/man1/sregistry-mount.1.gz | head -n 1
      zcat /usr/share/man/man8/mount.fuse.sregistry.8.gz | head -n 1
      as_user '${USE}'
      as_user 'HOME=/home/kim sregistry backend ls'
      export SREGISTRY_DIR_BASE=/srv/images SREGISTRY_CLIENT_SECRETS=/tmp/secrets SREGISTRY_CACHEDIR=/tmp/cache
      export SREGISTRY_DATABASE=/tmp/db SREGISTRY_STORAGE=/tmp/storage XDG_STATE_HOME=/tmp/state XDG_CACHE_HOME=/tmp
      mkdir /tmp/mnt
      mount -t fuse.sregistry dir /tmp/mnt -o ro,nodev,nosuid
      findmnt -no FSTYPE /tmp/mnt
      ls /tmp/mnt /tmp/mnt/dir/lab
      umount /tmp/mnt
      dpkg --purge sregistry $(dpkg-deb --field /srv/libfuse2.deb Package) > /dev/null
      as_user '${REMOVE_OWN}'
    `);
    expectUsed(output);
    expect(output).toMatch(/^\.TH "SREGISTRY\\-MOUNT" 1 .*\n\.TH "MOUNT.FUSE.SREGISTRY" 8 /m);
    expect(output).toContain('fuse.sregistry\n');
    expect(output).toMatch(/\/tmp\/mnt:\ndir\n/);
    expect(root.traces().filter((path) => !OF_DEBIAN.test(path))).toEqual([]);
  });

  test('npm installs it on a Node that is too old to run it, and removes all of it', async () => {
    const npm = hostNpm();
    root.bind(npm.folder, '/opt/npm');
    root.put(npm.node, '/opt/node/bin/node');
    root.put(packaged('sregistry-*.tgz'), '/srv/sregistry.tgz');
    const settings = { cache: npm.cache, userconfig: npm.userconfig };
    root.bind(settings.cache, '/root/.npm');
    const output = await root.run(`
      export PATH=/opt/node/bin:$PATH
      npm() { node /opt/npm/bin/npm-cli.js --prefix /usr/local --prefer-offline --no-audit --no-fund --no-update-notifier "$@"; }
      node --version
      npm install --global /srv/sregistry.tgz
      head -n 1 /usr/local/share/man/man1/sregistry-mount.1 /usr/local/share/man/man8/mount.fuse.sregistry.8
      as_user '${USE}'
      as_user 'sregistry shell <<< "import { version } from \\"sregistry\\"; console.log(\\"library\\", version)"'
      npm uninstall --global sregistry
      as_user '${REMOVE_OWN}'
    `);
    expectUsed(output);
    expect(output).toContain(`library ${version}\n`);
    expect(output).toMatch(/^\.TH "SREGISTRY\\-MOUNT" 1 .*^\.TH "MOUNT.FUSE.SREGISTRY" 8 /ms);
    expect(root.traces().filter((path) => !OF_DEBIAN.test(path))).toEqual([]);
  });
});

test('the .deb and the page say which glibc is needed', () => {
  const depends = execFileSync('dpkg-deb', ['--field', packaged('sregistry_*.deb'), 'Depends'], {
    encoding: 'utf8',
  });
  const [, glibc] = /\blibc6 \(>= (2\.\d+)\)/.exec(depends) ?? [];
  const objects = execFileSync('dpkg-deb', ['--fsys-tarfile', packaged('sregistry_*.deb')], {
    maxBuffer: 1 << 30,
  });
  expect(objects.includes(`\0GLIBC_${glibc}\0`)).toBe(true);
  const page = readFileSync(join(ROOT, 'docs/install.md'), 'utf8');
  const named = [...page.matchAll(/\bglibc (\S+?),? /g)].map(([, each]) => each);
  expect(new Set(named)).toEqual(new Set([glibc]));
});

needs({ lintian: true })('the .deb', () => {
  test('is one that lintian has nothing against', async () => {
    const words = ['--allow-root', '--fail-on', 'error,warning', packaged('sregistry_*.deb')];
    const { stdout } = await promisify(execFile)('lintian', words, { timeout: 300_000 }).catch(
      (error) => error,
    );
    expect(stdout).toBe('');
  }, 300_000);
});

describe('what is installed from a checkout', () => {
  let prefix: string;
  const install = () =>
    promisify(execFile)(process.execPath, ['packaging/main.ts', '--install', prefix], { cwd: ROOT });
  beforeAll(() => {
    prefix = mkdtempSync(join(tmpdir(), 'sregistry-prefix-'));
  });
  afterAll(() => rmSync(prefix, { recursive: true, force: true }));

  test('runs by way of a link, takes the place of an earlier version, and names all licences', async () => {
    await install();
    const folder = join(prefix, 'lib/sregistry');
    writeFileSync(join(folder, 'of-an-earlier-version'), '');
    await install();
    expect(readdirSync(prefix, { recursive: true })).not.toContain('lib/sregistry/of-an-earlier-version');
    expect(readdirSync(join(prefix, 'lib'))).toEqual(['sregistry']);
    const env = { PATH: '/usr/bin:/bin', HOME: prefix };
    expect(execFileSync(join(prefix, 'bin/sregistry'), ['version'], { env, encoding: 'utf8' })).toBe(
      `${version}\n`,
    );

    const licences = readFileSync(join(folder, 'dist/LICENCES.txt'), 'utf8');
    for (const description of globSync('node_modules/{*,@*/*}/package.json', { cwd: folder })) {
      const { name, version: its } = JSON.parse(readFileSync(join(folder, description), 'utf8'));
      expect(licences).toContain(`\n${name} ${its} (`);
    }
    for (const name of ['yargs', 'undici', 'libfuse'])
      expect(licences).toMatch(new RegExp(`^${name} [0-9]`, 'm'));
  });

  test('has man pages where man looks, and none of an earlier version', async () => {
    const manual = join(prefix, 'share/man/man1');
    mkdirSync(manual, { recursive: true });
    symlinkSync('../../../lib/sregistry/share/man/man1/sregistry-gone.1', join(manual, 'sregistry-gone.1'));
    writeFileSync(join(manual, 'other.1'), '');
    await install();
    expect(readdirSync(manual)).not.toContain('sregistry-gone.1');
    expect(readdirSync(manual)).toContain('other.1');
    const page = join(manual, 'sregistry-mount.1');
    expect(readlinkSync(page)).toBe('../../../lib/sregistry/share/man/man1/sregistry-mount.1');
    expect(readFileSync(page, 'utf8')).toContain('.TH "SREGISTRY\\-MOUNT" 1 ');
  });

  test('has each optional package, whole', async () => {
    const { peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const names = Object.keys(peerDependencies);
    // What Node adds to the names of a CommonJS module.
    const added = ['default', 'module.exports', '__esModule'];
    const script = `
      for (const name of ${JSON.stringify(names)}) {
        const keys = Object.keys(await import(name)).filter((key) => !${JSON.stringify(added)}.includes(key));
        console.log(name, keys.sort().join());
      }`;
    const exportsIn = (folder: string) => {
      const words = ['--input-type=module', '--eval', script];
      return execFileSync(process.execPath, words, { cwd: folder, encoding: 'utf8' });
    };
    expect(exportsIn(join(prefix, 'lib/sregistry'))).toBe(exportsIn(ROOT));
  });
});

/** This machine's own package of libfuse 2, packed again. */
function packLibfuse(): string {
  const { stdout } = spawnSync('dpkg-query', ['--show', 'libfuse2', 'libfuse2t64'], { encoding: 'utf8' });
  const [name = '', architecture, its] = stdout.trim().split(/[:\t]/);
  const folder = join(packages, 'libfuse');
  mkdirSync(join(folder, 'DEBIAN'), { recursive: true });
  for (const path of execFileSync('dpkg', ['-L', name], { encoding: 'utf8' }).trim().split('\n'))
    if (path.includes('.so.')) cpSync(path, join(folder, path), { recursive: true, verbatimSymlinks: true });
  const control = `Package: ${name}\nVersion: ${its}\nArchitecture: ${architecture}\nMaintainer: a test <test@localhost>\nDescription: libfuse 2\n`;
  writeFileSync(join(folder, 'DEBIAN/control'), control);
  execFileSync('dpkg-deb', ['--root-owner-group', '--build', folder, `${folder}.deb`], { stdio: 'pipe' });
  return `${folder}.deb`;
}

/** The npm of this machine, which came with the Node beside it, not with the checkout's. */
function hostNpm() {
  const folders = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'));
  const links = folders.map((folder) => join(folder, 'npm'));
  const link = links.find((path) => globSync(path).length > 0);
  if (link === undefined) throw new Error('this machine has no npm');
  const config = (key: string) => execFileSync(link, ['config', 'get', key], { encoding: 'utf8' }).trim();
  return {
    folder: dirname(dirname(realpathSync(link))),
    node: realpathSync(join(dirname(link), 'node')),
    cache: config('cache'),
    userconfig: config('userconfig'),
  };
}
