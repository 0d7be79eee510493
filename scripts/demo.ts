/**
 * The main job, shown on the registry that needs no server: a directory (the driver `dir`). Mounts it in the background,
 * publishes a genuine image by copying it in, lists it, reads a part of it, asks for its status, and unmounts. Everything
 * lies in a temporary folder, which is removed at the end.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { styleText } from 'node:util';

const root = join(import.meta.dirname, '..');
const home = mkdtempSync(join(tmpdir(), 'sregistry-demo-'));
const mountpoint = join(home, 'mnt');
const image = join(home, 'small.sif');
cpSync(join(root, 'test/fixtures/images/small-gzip.sif'), image);
mkdirSync(join(home, 'registry'));

const env: NodeJS.ProcessEnv = {
  ...process.env,
  HOME: home,
  SREGISTRY_CACHEDIR: join(home, 'cache'),
  SREGISTRY_CLIENT_SECRETS: join(home, '.sregistry'),
  SREGISTRY_DATABASE: home,
  XDG_RUNTIME_DIR: home,
  XDG_STATE_HOME: join(home, 'state'),
  PATH: `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH}`,
  IMAGE: image,
  MNT: mountpoint,
  REGISTRY: join(home, 'registry'),
};

const SREGISTRY = join(root, 'bin/sregistry.js');

/** Shows a command and runs it as a shell would. */
function show(comment: string, command: string): void {
  console.log(styleText('dim', `\n# ${comment}`));
  console.log(styleText('bold', `$ ${command}`));
  const { status } = spawnSync('bash', ['-c', `sregistry() { node '${SREGISTRY}' "$@"; }; ${command}`], {
    env,
    stdio: 'inherit',
    timeout: 120_000,
  });
  if (status !== 0) throw new Error(`the demo stopped: ${command} ended with ${status}`);
}

const hasApptainer = spawnSync('apptainer', ['version'], { env }).status === 0;

try {
  show('A directory becomes the registry "lab".', 'sregistry backend add lab --driver dir base=$REGISTRY');
  show('Every configured registry appears as folders.', 'sregistry mount $MNT && ls $MNT');
  show('Copying an image in publishes it.', 'cp $IMAGE $MNT/lab/demo/hello:1.0.simg');
  show('It is in the registry, and in the mount.', 'ls -l $REGISTRY/demo $MNT/lab/demo');
  show('It can be found, here and in every other registry that is configured.', 'sregistry search hello');
  show('The bytes are the image.', 'cmp $IMAGE $MNT/lab/demo/hello:1.0.simg && echo the same');
  if (hasApptainer) show('And it runs.', 'apptainer run $MNT/lab/demo/hello:1.0.simg from the mount');
  show('What is no image is refused.', '! cp /etc/hostname $MNT/lab/demo/notes:1.simg');
  show('How it stands, and why that was refused.', 'sregistry status');
} finally {
  show('Done: unmount.', 'sregistry unmount $MNT');
  rmSync(home, { recursive: true, force: true });
}
