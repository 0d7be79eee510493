#!/usr/bin/env node
/**
 * The executable: finds a Node that can run sregistry and starts the command line on it.
 *
 * The Node that was started is used when it fits `engines` of package.json. Else the one that npm installed beside
 * the project (the package `node`) runs this file again, with the same arguments, streams, signals and exit code.
 * Node 12.20 must be able to read this file, so it keeps to that version's syntax.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';

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
  import(isBuilt() ? '../dist/cli/main.js' : '../src/cli/main.ts')
    .then((cli) => cli.main(process.argv.slice(2)))
    .then((code) => {
      process.exitCode = code;
    });
}

/**
 * In a checkout a build is good until a source is changed, so that what is written works at once. Only there the compiler has left
 * its notes: a package comes without them, and its build is not doubted.
 */
function isBuilt() {
  if (!existsSync(here('../dist/cli/main.js'))) return false;
  const notes = here('../dist/.tsbuildinfo');
  return (
    !existsSync(notes) || !existsSync(here('../src')) || !hasChanged(here('../src'), statSync(notes).mtimeMs)
  );
}

/** Was a file below `folder` changed after `time` (milliseconds since the epoch)? */
function hasChanged(folder, time) {
  return readdirSync(folder, { withFileTypes: true }).some((entry) => {
    const path = `${folder}/${entry.name}`;
    return entry.isDirectory() ? hasChanged(path, time) : statSync(path).mtimeMs > time;
  });
}

/** The Node of the package `node`: the project's own, or hoisted beside an installed sregistry. */
function ownNode() {
  return [here('../node_modules/node/bin/node'), here('../../node/bin/node')].find(
    (path) => existsSync(path) && realpathSync(path) !== realpathSync(process.execPath),
  );
}

function runOn(node) {
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
    'In a checkout run scripts/setup, which installs a fitting Node beside the project. Elsewhere: https://nodejs.org',
  );
  process.exitCode = 1;
}
