#!/usr/bin/env node
/**
 * The executable: finds a Node that can run sregistry and starts the command line on it.
 *
 * The Node that was started is used when it fits `engines` of package.json. Else the one that npm installed with
 * sregistry runs this file again, with the same arguments, streams, signals and exit code.
 * Node 12.20 must be able to read this file, so it keeps to that version's syntax.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import * as modules from 'node:module';
import { constants } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';

/** The type of a folder in a file's mode, see inode(7). */
const FOLDER = 0o040000;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const needed = JSON.parse(readFileSync(here('../package.json'), 'utf8')).engines.node;

if (fits(process.versions.node)) {
  start();
} else {
  const node = ownNode();
  if (node) runOn(node);
  else explain();
}

/** Is `version` ("24.21.0") at least what `engines` asks for (">=22.19")? */
function fits(version) {
  const [major, minor] = version.split('.').map(Number);
  const [neededMajor, neededMinor] = needed.match(/\d+/g).map(Number);
  return major > neededMajor || (major === neededMajor && minor >= neededMinor);
}

/** The build where there is one that is up to date, else the sources of the checkout, whose types Node strips. */
function start() {
  keepCompiled();
  import(isBuilt() ? '../dist/cli/main.js' : '../src/cli/main.ts')
    .then((cli) => cli.main(process.argv.slice(2)))
    .then((code) => {
      process.exitCode = code;
    });
}

/**
 * Lets Node keep what it compiles, which saves a fifth of a command's time. Node believes what it finds in that folder, so it must
 * be this user's alone: Node's own choice, in /tmp, may be anyone's. Without such a folder everything works, only slower.
 */
function keepCompiled() {
  const { XDG_CACHE_HOME: caches = '', HOME: home = '' } = process.env;
  const parent = isAbsolute(caches) ? caches : isAbsolute(home) && join(home, '.cache');
  if (!parent) return;
  const folder = join(parent, 'sregistry-code');
  try {
    makeFolder(parent);
    makeFolder(folder);
    const { uid, mode } = lstatSync(folder);
    const isOwn = uid === process.getuid() && (mode & 0o170022) === FOLDER;
    if (isOwn) modules.enableCompileCache(folder);
  } catch (error) {
    if (process.env.DEBUG) console.error(`sregistry keeps no compiled code in ${folder}: ${error.message}`);
  }
}

/** Not `recursive`: with that, Node tries for ever where no folder can be made, as in /proc. */
function makeFolder(path) {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
}

/**
 * In a checkout a build is good until a source is changed, so that what is written works at once. Only there the build has left
 * a note of when it began: a package comes without it, and its build is not doubted.
 */
function isBuilt() {
  if (!existsSync(here('../dist/cli/main.js'))) return false;
  const note = here('../dist/.built');
  return (
    !existsSync(note) || !existsSync(here('../src')) || !hasChanged(here('../src'), statSync(note).mtimeMs)
  );
}

/** Was a file below `folder` changed after `time` (milliseconds since the epoch)? */
function hasChanged(folder, time) {
  return readdirSync(folder, { withFileTypes: true }).some((entry) => {
    const path = `${folder}/${entry.name}`;
    return entry.isDirectory() ? hasChanged(path, time) : statSync(path).mtimeMs > time;
  });
}

/** The Node that npm installed: in a checkout the package `node`, else the one for this machine; below sregistry or beside it. */
function ownNode() {
  const packages = ['node', `node-linux-${process.arch}`];
  return packages
    .flatMap((name) => [here(`../node_modules/${name}/bin/node`), here(`../../${name}/bin/node`)])
    .find((path) => existsSync(path) && realpathSync(path) !== realpathSync(process.execPath));
}

async function runOn(node) {
  const { spawn } = await import('node:child_process');
  let child;
  // Before the child runs, so that no signal falls between.
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
  // A terminal sends these to the whole foreground group: the child has them already, and twice means "now".
  for (const signal of ['SIGINT', 'SIGQUIT']) process.on(signal, () => isatty(0) || child.kill(signal));
  child = spawn(node, process.argv.slice(1), { stdio: 'inherit' });
  child.on('error', explain);
  child.on('exit', (code, signal) => {
    process.exitCode = signal ? 128 + constants.signals[signal] : code;
  });
}

function explain() {
  console.error(
    `sregistry needs Node ${needed}; this is Node ${process.versions.node} (${process.execPath}).`,
  );
  console.error(
    'A checkout gets one from scripts/setup, and npm installs one, unless it omits optional packages. Others: https://nodejs.org',
  );
  process.exitCode = 1;
}
