import { text } from 'node:stream/consumers';
import { SregistryError } from '../base/errors.ts';
import {
  type Credential,
  credentialsOf,
  type LoginStatus,
  login,
  loginStatus,
  logout,
} from '../client/auth.ts';
import type { Session } from '../client/session.ts';
import { preferredClient } from '../client/target.ts';
import { bot } from '../log/index.ts';
import { defineSubcommand, type Group, JSON_OPTION } from './command.ts';
import { printJson } from './json.ts';
import { ask, isInteractive } from './prompt.ts';
import { openSession } from './session.ts';

const BACKEND = {
  type: 'string',
  describe: 'Name of the backend',
  defaultDescription: 'the active one',
} as const;

const loginCommand = defineSubcommand({
  command: 'login [backend]',
  describe: 'Try credentials and keep them in the secrets file',
  build: (yargs) =>
    yargs.positional('backend', BACKEND).options({
      username: { type: 'string', alias: 'u', requiresArg: true, describe: 'User' },
      'password-stdin': { type: 'boolean', describe: 'Read the password or token from stdin' },
    }),
  examples: [
    ['sregistry auth login lab', 'Be asked for what lab needs'],
    ['sregistry auth login lab -u me --password-stdin < token.txt', 'Without questions'],
  ],

  async run({ backend, username, passwordStdin }, context) {
    await using session = await openSession(context);
    const name = backendOf(backend, session);
    const credentials = credentialsOf(name, session);
    if (!credentials.some(({ role }) => role !== 'required'))
      throw new SregistryError('UNSUPPORTED', `${name} needs no login`);
    const given = { user: username, secret: passwordStdin ? await readPassword() : undefined };
    const values = await complete(name, credentials, given);
    const wasTried = await login(name, values, session, context.signal);
    bot.info(wasTried ? `Logged in to ${name}` : `Credentials for ${name} are kept; they could not be tried`);
  },
});

function backendOf(given: string | undefined, session: Session): string {
  const name = given ?? preferredClient(session);
  if (name !== undefined) return name;
  throw new SregistryError('USAGE', 'Say which backend is meant: none is active', {
    hint: `There are ${session.backendNames.join(', ')}`,
  });
}

async function readPassword(): Promise<string> {
  return (await text(process.stdin)).replace(/\r?\n$/, '');
}

/** The values given, and the answers for the others where there is someone to ask. */
async function complete(
  backend: string,
  credentials: readonly Credential[],
  given: { readonly user: string | undefined; readonly secret: string | undefined },
): Promise<Record<string, string>> {
  const values: Record<string, string> = {};
  const pending = { ...given };
  for (const { name, spec, role, source } of credentials) {
    const value = role === 'required' ? undefined : pending[role];
    if (value !== undefined && role !== 'required') {
      values[name] = value;
      // A driver may take several kinds of secrets: the first is the one meant.
      pending[role] = undefined;
    } else if (isInteractive() && given.secret === undefined && !(role === 'required' && source)) {
      const answer = await ask(`${name} (${spec.describe}):`, { secret: role === 'secret' });
      if (answer !== '') values[name] = answer;
    }
  }
  if (pending.user !== undefined) throw new SregistryError('USAGE', `${backend} has no option for a user`);
  if (Object.keys(values).length > 0) return values;
  throw new SregistryError('USAGE', `No credentials for ${backend} were given`, {
    hint: 'Run it in a terminal, or give --username and --password-stdin',
  });
}

const logoutCommand = defineSubcommand({
  command: 'logout [backend]',
  describe: 'Take user and secrets of a backend out of the secrets file',
  build: (yargs) => yargs.positional('backend', BACKEND),
  examples: [['sregistry auth logout lab', 'Forget the login to lab']],

  async run({ backend }, context) {
    await using session = await openSession(context);
    const name = backendOf(backend, session);
    const removed = await logout(name, session);
    bot.info(removed ? `Logged out of ${name}` : `There is no login to ${name} in the secrets file`);
  },
});

const statusCommand = defineSubcommand({
  command: 'status [backend]',
  describe: 'Which credentials there are, and whether the services accept them',
  build: (yargs) =>
    yargs
      .positional('backend', { ...BACKEND, defaultDescription: 'all that are configured' })
      .options(JSON_OPTION),
  examples: [['sregistry auth status', 'Of all backends']],

  async run({ backend, json }, context) {
    await using session = await openSession(context);
    const names = backend === undefined ? session.backendNames : [backend];
    const all = await Promise.all(names.map((name) => loginStatus(name, session, context.signal)));
    if (json) printJson(all);
    else
      bot.table(all.map(toRow), { header: ['backend', 'service', 'credentials', 'answer'], numbered: false });
    return all.every(({ ok }) => ok) ? 0 : 1;
  },
});

function toRow({ backend, target, credentials, ok, error }: LoginStatus): string[] {
  const set = Object.entries(credentials).map(([name, source]) => `${name} (${source})`);
  return [backend, target ?? '', set.join(', ') || '-', ok ? 'ok' : (error ?? '')];
}

export default { subcommands: [loginCommand, logoutCommand, statusCommand] } satisfies Group;
