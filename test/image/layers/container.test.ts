/** What Apptainer adds to a Docker image, ours against its own: both images run with the same arguments. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addContainerFiles } from '../../../src/image/layers/container.ts';
import { LayerTree } from '../../../src/image/layers/merge.ts';
import { type ContainerConfig, environmentScript, runscript } from '../../../src/image/layers/scripts.ts';
import { needs } from '../../helpers/skip.ts';
import { apptainer } from '../../servers/apptainer.ts';
import { ociLayout, run, writeImage } from './support.ts';

const WORDS = ['/bin/show', 'two words', `it's "quoted"`, '$HOME `date` \\n', '', '*'];

/** Configurations and the arguments to run each with. */
const CASES: Readonly<Record<string, ContainerConfig>> = {
  'an entrypoint only': { Entrypoint: WORDS },
  'a command only': { Cmd: WORDS },
  'an entrypoint and a command': { Entrypoint: ['/bin/show', 'e p'], Cmd: ['c $HOME', "d'd"] },
  'lines and characters of the shell': {
    Entrypoint: ['show', 'two\nlines', '\\', '#', '~', '!', '-n'],
    Cmd: ['$(echo x)', ';', '&&', '$$', 'tab\t', 'é', ''],
    WorkingDir: '/bin',
  },
  'the shell form': { Entrypoint: ['/bin/sh', '-c', `/bin/show "$0" "$@" "\${A:-none}"`], Cmd: ['x'] },
};
const ARGUMENTS = [[], ['/bin/show', 'one', 'two words'], ['/bin/show', '$FROM_IMAGE', "it's", '*']];
const ENV = [
  'PATH=/opt/bin:/usr/bin:/bin',
  'FROM_IMAGE=yes',
  'SPACES=two words',
  `SINGLE=it's`,
  'EMPTY=',
  'EQUALS=a=b=c',
  '1BAD=x',
  'NO-NAME=x',
  'NO_VALUE',
  'TWICE=1',
  'TWICE=2',
  'SHELL_CHARACTERS=*;&#~!',
  'UNICODE=é',
  'LD_LIBRARY_PATH=/image/lib',
  'PS1=image> ',
];
const SHOWN = ENV.map((element) => element.split('=')[0] as string)
  .filter((name) => /^[A-Z_0-9]+$/.test(name) && !/^[0-9]/.test(name))
  .concat('GIVEN', 'PWD');

const SHOW = `#!/bin/sh
printf '<%s>\\n' "$@"
${SHOWN.map((name) => `echo "${name}=\${${name}-unset}"`).join('\n')}
`;

needs({ apptainer: true, root: true })('a Docker image', () => {
  let folder: string;
  let layer: string;
  const at = (name: string) => join(folder, name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sregistry-container-'));
    layer = await shellLayer(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.each(Object.entries(CASES))('with %s', (name, config) => {
    it('is run as Apptainer runs its own conversion of it', async () => {
      const id = createHash('md5').update(name).digest('hex');
      const whole = { ...config, Env: ENV };
      const layout = ociLayout(at(id), [layer], whole);
      const theirs = at(`${id}.sif`);
      const built = await apptainer(['build', '--disable-cache', theirs, `oci:${layout}`]);
      expect(built.code, built.stderr).toBe(0);
      const ours = at(`${id}.squashfs`);
      await writeImage([layer], ours, (tree) =>
        addContainerFiles(tree, whole, { modified: 0, architecture: 'amd64' }),
      );
      for (const args of ARGUMENTS) {
        for (const options of [[], ['--no-eval'], ['--env', 'GIVEN=1,FROM_IMAGE=no']]) {
          const [mine, wanted] = [await start(ours, options, args), await start(theirs, options, args)];
          expect(mine, `${options} ${args}`).toEqual(wanted);
        }
      }
    });
  });

  it('is executed, inspected and opened with a shell as Apptainer does it', async () => {
    const config = { Entrypoint: ['/bin/show'], Env: ENV, Labels: { maintainer: 'me', 'a<b': '"&"' } };
    const layout = ociLayout(at('verbs'), [layer], config);
    const [theirs, ours] = [at('verbs.sif'), at('verbs.squashfs')];
    const built = await apptainer(['build', '--disable-cache', theirs, `oci:${layout}`]);
    expect(built.code, built.stderr).toBe(0);
    await writeImage([layer], ours, (tree) =>
      addContainerFiles(tree, config, { modified: 1_700_000_000, architecture: 'amd64', from: 'demo:1' }),
    );
    for (const args of [
      ['exec', '/bin/show', 'x'],
      ['shell', '-c', '/bin/show y'],
      ['test', 'z'],
    ]) {
      const [verb, ...rest] = args as [string, ...string[]];
      const answer = async (image: string) => {
        const { code, stdout } = await apptainer([verb, '--cleanenv', image, ...rest]);
        // That there is no test each says in its own words.
        return { code, stdout: verb === 'test' ? undefined : stdout };
      };
      expect(await answer(ours), verb).toEqual(await answer(theirs));
    }
    const labels = async (image: string) =>
      JSON.parse((await apptainer(['inspect', '--json', '--labels', image])).stdout).data.attributes.labels;
    const [mine, wanted] = [await labels(ours), await labels(theirs)];
    expect(mine).toMatchObject({ maintainer: 'me', 'a<b': '"&"' });
    // They say which build of Apptainer made the image, and from what.
    const builds = /version$|deffile.from$|image\.|build-date$/;
    const keys = (all: object) => Object.keys(all).filter((key) => !builds.test(key));
    expect(keys(mine)).toEqual(keys(wanted));
    expect(mine['org.label-schema.build-date']).toBe('Tuesday_14_November_2023_22:13:20_UTC');
    const names = async (image: string) =>
      (await apptainer(['exec', image, '/bin/sh', '-c', 'echo /* /.* /.singularity.d/* /.singularity.d/*/*']))
        .stdout;
    expect((await names(ours)).split(' ').sort()).toEqual((await names(theirs)).split(' ').sort());
  });

  async function start(image: string, options: string[], args: string[]) {
    const { code, stdout } = await apptainer(['run', '--cleanenv', ...options, image, ...args], { cwd: '/' });
    return { code, stdout };
  }
});

describe('the environment script', () => {
  const shellValue = async (shell: string, value: string, env: Record<string, string> = {}) => {
    const script = `${environmentScript([`VALUE=${value}`])}printf %s "$VALUE"`;
    return (await run(shell, ['-c', script], { env: { PATH: '/usr/bin:/bin', ...env } })).stdout;
  };

  it.each(['a b', '$HOME', '`id`', '"', "'", '\\', '}', 'line\nline', `\${X:-y}`, '!', 'ü'])(
    'sets a variable to %j, whatever the shell makes of it elsewhere',
    async (value) => {
      for (const shell of ['dash', 'bash']) expect(await shellValue(shell, value)).toBe(value);
    },
  );

  it('leaves a variable that has a value from outside', async () => {
    expect(await shellValue('dash', 'image', { VALUE: 'outside' })).toBe('outside');
    expect(await shellValue('dash', 'image', { VALUE: '' })).toBe('image');
  });

  it('leaves out names that are none, and cannot be made to run commands', async () => {
    const script = environmentScript(['A;touch x=1', '$(id)=1', 'B=$(id)', 'C']);
    expect(script).toBe(
      `#!/bin/sh\n[ -n "\${B:-}" ] || B='$(id)'\nexport B\n[ -n "\${C:-}" ] || C=''\nexport C\n`,
    );
  });
});

it('a runscript without entrypoint and command runs its arguments', async () => {
  const script = runscript([], []);
  expect((await run('dash', ['-c', script, 'runscript', 'echo', 'a b'])).stdout).toBe('a b\n');
  expect((await run('dash', ['-c', script, 'runscript'])).stdout).toBe('');
});

describe('the files that are added', () => {
  const options = { modified: 5, architecture: 'amd64' };
  const attributes = { mode: 0o600, uid: 7, gid: 7, modified: 1 };
  const file = { type: 'file', ...attributes, size: 4, offset: 512 } as const;

  it('never leave the root, and replace links that lead nowhere', () => {
    const tree = new LayerTree(0);
    tree.apply([
      { type: 'symlink', ...attributes, path: 'etc', target: '../../../../elsewhere' },
      { type: 'symlink', ...attributes, path: 'elsewhere/hosts', target: '/../../nowhere' },
      { type: 'symlink', ...attributes, path: '.run', target: 'wrong' },
      { ...file, path: 'environment' },
      { ...file, path: '.singularity.d' },
    ]);
    addContainerFiles(tree, {}, options);
    expect(tree.find('elsewhere/hosts')).toMatchObject({ type: 'file', mode: 0o644, pieces: [] });
    expect(tree.find('.run')).toMatchObject({ type: 'symlink', target: '.singularity.d/actions/run' });
    expect(tree.find('environment')).toMatchObject({ type: 'file', uid: 7 });
    expect(tree.find('.singularity.d/runscript')).toMatchObject({ type: 'file', mode: 0o755, uid: 0 });
    expect(tree.find('singularity', 'follow')).toBe(tree.find('.singularity.d/runscript'));
  });

  it("empty the image's own hosts file, which keeps its owner", () => {
    const tree = new LayerTree(0);
    tree.apply([{ ...file, path: 'etc/hosts' }]);
    addContainerFiles(tree, {}, options);
    expect(tree.find('etc/hosts')).toMatchObject({ mode: 0o644, uid: 7, pieces: [] });
  });
});

/** A layer with a shell and what it needs, from this machine. */
async function shellLayer(folder: string): Promise<string> {
  const root = join(folder, 'shell');
  mkdirSync(join(root, 'bin'), { recursive: true });
  const { stdout } = await run('ldd', ['/bin/dash']);
  const libraries = [...stdout.matchAll(/(\/\S+)/g)].map(([path]) => path as string);
  for (const library of libraries) {
    mkdirSync(join(root, library, '..'), { recursive: true });
    writeFileSync(join(root, library), readFileSync(library), { mode: 0o755 });
  }
  writeFileSync(join(root, 'bin/sh'), readFileSync('/bin/dash'), { mode: 0o755 });
  writeFileSync(join(root, 'bin/show'), SHOW, { mode: 0o755 });
  const layer = join(folder, 'shell.tar');
  await run('tar', ['--numeric-owner', '--owner=0', '--group=0', '-C', root, '-cf', layer, '.']);
  return layer;
}
