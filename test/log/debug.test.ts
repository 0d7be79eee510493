import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const LOG = join(import.meta.dirname, '../../src/log/index.ts');

/** Runs `body` in a process of its own, where `bot` and `debugLog` are those of the process. */
async function run(body: string, env: NodeJS.ProcessEnv = {}) {
  const script = `import { bot, debugLog, registerSecret } from ${JSON.stringify(LOG)};\n${body}`;
  const { PATH } = process.env;
  return promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env: { PATH, ...env },
  });
}

const TRACE = `registerSecret('open-sesame-2'); debugLog('oci')('%s then %o', 'open-sesame-2', { a: 1 });`;

test('traces nothing unless asked', async () => {
  expect(await run(TRACE)).toEqual({ stdout: '', stderr: '' });
});

test('DEBUG=sregistry:oci traces that namespace to stderr, without secrets', async () => {
  const { stdout, stderr } = await run(TRACE, { DEBUG: 'sregistry:oci' });
  expect(stderr).toMatch(/sregistry:oci \*\*\* then { a: 1 }\n$/);
  expect(stdout).toBe('');
});

test('MESSAGELEVEL=DEBUG and the level DEBUG trace everything, and a lower level ends it', async () => {
  expect((await run(TRACE, { MESSAGELEVEL: 'DEBUG' })).stderr).toContain('sregistry:oci');
  const { stderr } = await run(
    `const log = debugLog('x'); log('one'); bot.setLevel('DEBUG'); log('two'); bot.setLevel('INFO'); log('three');`,
  );
  expect(stderr).toContain('two');
  expect(stderr).not.toMatch(/one|three/);
});

test('the level DEBUG keeps the namespaces of others that DEBUG names', async () => {
  const { stderr } = await run(
    `import debug from ${JSON.stringify(import.meta.resolve('debug'))};
     bot.setLevel('DEBUG'); debug('other')('theirs'); bot.setLevel('INFO'); debug('other')('still theirs');`,
    { DEBUG: 'other' },
  );
  expect(stderr).toContain('other theirs');
  expect(stderr).toContain('other still theirs');
});
