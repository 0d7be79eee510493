import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { type RefreshOptions, refreshedTokens } from '../../../src/backends/kit/refresh-tokens.ts';
import type { Tokens } from '../../../src/backends/oauth.ts';
import { SregistryError } from '../../../src/base/errors.ts';
import { bot } from '../../../src/log/index.ts';
import { startOAuthServer } from '../../servers/oauth-server.ts';
import { temporaryDir } from '../../settings/temporary.ts';

const signal = new AbortController().signal;
afterEach(() => vi.restoreAllMocks());

/** A service that takes a refresh token once, and gives another with each renewal. */
function rotatingService(first = 'refresh-0') {
  let good = first;
  let count = 0;
  return vi.fn(async (token: string): Promise<Tokens> => {
    if (token !== good) throw new SregistryError('UNAUTHORIZED', 'invalid_grant');
    good = `refresh-${++count}`;
    return { accessToken: `access-${count}`, refreshToken: good, expires: new Date(Date.now() + 3_600_000) };
  });
}

const tokensOf = (renew: RefreshOptions['renew'], file: string | undefined, refreshToken = 'refresh-0') =>
  refreshedTokens({ backend: 'drive', refreshToken, file, renew });

const newFile = () => join(temporaryDir(), 'credentials', 'drive');
const onDisk = (file: string) => JSON.parse(readFileSync(file, 'utf8'));

describe('A refresh token that changes when it is used', () => {
  test('is kept in a file that only its owner reads, and used from there.', async () => {
    const file = newFile();
    const renew = rotatingService();
    const first = tokensOf(renew, file);
    expect((await first(signal)).value).toBe('access-1');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).not.toContain('refresh-0');
    expect((await first(signal)).value).toBe('access-2');
    expect(onDisk(file)).toMatchObject({ login: { refreshToken: 'refresh-2', accessToken: 'access-2' } });
    expect(renew.mock.calls).toEqual([['refresh-0'], ['refresh-1']]);
  });

  test('is renewed by one of those that share it; the others take what that one got.', async () => {
    const file = newFile();
    const renew = rotatingService();
    const sharers = Array.from({ length: 5 }, () => tokensOf(renew, file));
    const tokens = await Promise.all(sharers.map((obtain) => obtain(signal)));
    expect(tokens.map(({ value }) => value)).toEqual(tokens.map(() => 'access-1'));
    expect(tokens[0]?.lifetime).toBeGreaterThan(3500);
    expect(renew).toHaveBeenCalledTimes(1);
  });

  test('of an earlier login counts for nothing after a new one.', async () => {
    const file = newFile();
    await tokensOf(rotatingService(), file)(signal);
    const renew = rotatingService('after a new login');
    expect((await tokensOf(renew, file, 'after a new login')(signal)).value).toBe('access-1');
    expect(renew).toHaveBeenCalledTimes(1);
  });

  test('leaves the other entries of its file as they are.', async () => {
    const file = newFile();
    const options = { backend: 'globus', refreshToken: 'refresh-0', file };
    await refreshedTokens({ ...options, entry: 'transfer', renew: rotatingService() })(signal);
    await refreshedTokens({ ...options, entry: 'files', renew: rotatingService() })(signal);
    expect(Object.keys(onDisk(file))).toEqual(['transfer', 'files']);
  });

  test('that the service refuses is UNAUTHORIZED, says how to log in, and changes nothing on disk.', async () => {
    const file = newFile();
    const renew = rotatingService();
    await tokensOf(renew, file)(signal);
    const before = onDisk(file);
    const refuse = async () => {
      throw new SregistryError('UNAUTHORIZED', 'invalid_grant');
    };
    const obtain = tokensOf(refuse, file);
    await obtain(signal);
    await expect(obtain(signal)).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: 'log in again with: sregistry auth login drive',
    });
    expect(onDisk(file)).toEqual(before);
  });

  test('stays in memory, with a warning, where its file cannot be written.', async () => {
    const warning = vi.spyOn(bot, 'warning').mockImplementation(() => {});
    const folder = temporaryDir();
    writeFileSync(join(folder, 'blocked'), '');
    const obtain = tokensOf(rotatingService(), join(folder, 'blocked', 'drive'));
    expect((await obtain(signal)).value).toBe('access-1');
    expect((await obtain(signal)).value).toBe('access-2');
    expect(warning).toHaveBeenCalledOnce();
  });

  test.each(['', '{"login": {"origin"', '[1]', 'null', '{"login": 7}', '\0\0\0'])(
    'is kept in place of a damaged file (%j), so that the next process finds it.',
    async (damaged) => {
      const file = newFile();
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, damaged);
      const warning = vi.spyOn(bot, 'warning').mockImplementation(() => {});
      const renew = rotatingService();
      expect((await tokensOf(renew, file)(signal)).value).toBe('access-1');
      const another = tokensOf(renew, file);
      expect((await another(signal)).value).toBe('access-1');
      expect((await another(signal)).value).toBe('access-2');
      expect(warning).not.toHaveBeenCalled();
    },
  );

  test('is written through a symbolic link, and to a file that only its owner reads.', async () => {
    const file = newFile();
    const folder = temporaryDir();
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(join(folder, 'real'), '{}', { mode: 0o644 });
    symlinkSync(join(folder, 'real'), file);
    await tokensOf(rotatingService(), file)(signal);
    expect(lstatSync(file).isSymbolicLink()).toBe(true);
    expect(onDisk(file)).toMatchObject({ login: { refreshToken: 'refresh-1' } });
    expect(statSync(join(folder, 'real')).mode & 0o777).toBe(0o600);
  });

  test('stays in memory where nothing may be kept on disk.', async () => {
    const obtain = tokensOf(rotatingService(), undefined);
    expect((await obtain(signal)).value).toBe('access-1');
    expect((await obtain(signal)).value).toBe('access-2');
  });
});

test('A refresh token that stays what it is is not copied to disk.', async () => {
  const file = newFile();
  const renew = async (token: string) => ({ accessToken: 'a', refreshToken: token, expires: undefined });
  expect(await tokensOf(renew, file)(signal)).toEqual({ value: 'a', lifetime: 3600 });
  expect(existsSync(file)).toBe(false);
});

test('Two processes with one login renew it in turn, and neither uses a token that was used up.', async () => {
  await using server = await startOAuthServer({ once: true });
  server.given.push({ access_token: 'none', refresh_token: 'first-login' });
  const file = newFile();
  const rounds = 15;
  const processes = await Promise.all(
    [1, 2].map(async () => {
      const script = join(import.meta.dirname, 'refresh-process.ts');
      const args = ['--no-warnings', script, server.url, file, 'first-login', String(rounds)];
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      onTestFinished(() => void child.kill('SIGKILL'));
      const lines = createInterface(child.stdout);
      const said: string[] = [];
      lines.on('line', (line) => said.push(line));
      await once(lines, 'line');
      return { child, said };
    }),
  );
  const ended = processes.map(({ child }) => once(child, 'close'));
  for (const { child } of processes) child.stdin.write('go\n');
  expect((await Promise.all(ended)).map(([code]) => code)).toEqual([0, 0]);
  const given = server.given.map(({ access_token }) => access_token);
  for (const { said } of processes) {
    const tokens = said.slice(1);
    expect(tokens).toHaveLength(rounds);
    expect(new Set(tokens).size).toBe(rounds);
    expect(given).toEqual(expect.arrayContaining(tokens));
  }
  expect(onDisk(file)).toMatchObject({ login: { refreshToken: server.given.at(-1)?.refresh_token } });
});
