import { text } from 'node:stream/consumers';
import type { LoginUi } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import { type LoginStatus, loginStatus, loginWith, logout } from '../client/auth.ts';
import {
  hostStatus,
  hostsWithLogin,
  isRegistryHost,
  loginToHost,
  logoutFromHost,
} from '../client/auth-host.ts';
import type { Session } from '../client/session.ts';
import { preferredBackend } from '../client/target.ts';
import { terminal } from '../client/terminal.ts';
import { bot } from '../log/index.ts';
import { defineSubcommand, type Group } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { openSession } from './session.ts';

const BACKEND = {
  type: 'string',
  describe: 'Name of the backend, or host of an OCI registry such as ghcr.io',
  defaultDescription: 'the active one',
} as const;

const loginCommand = defineSubcommand({
  command: 'login [backend]',
  describe: 'Log in, and keep the login: in the secrets file, or for a host where docker and apptainer look',
  build: (yargs) =>
    yargs.positional('backend', BACKEND).options({
      username: { type: 'string', alias: 'u', requiresArg: true, describe: 'User' },
      'password-stdin': {
        type: 'boolean',
        alias: 'token-stdin',
        describe: 'Read the password or token from stdin',
      },
      'no-browser': {
        type: 'boolean',
        describe: 'Log in with a browser on another machine: asks for the address at which it ends',
      },
    }),
  examples: [
    ['sregistry auth login lab', 'Answer the questions of lab, or log in on its page in a browser'],
    [
      'sregistry auth login ghcr.io -u me --token-stdin < token.txt',
      'For all backends, docker and apptainer',
    ],
    ['sregistry auth login google-drive --no-browser', 'On a machine without a browser'],
  ],

  async run({ backend, username, passwordStdin, noBrowser }, context) {
    await using session = await openSession(context);
    const name = backendOf(backend, session);
    const given = { user: username, secret: passwordStdin ? await readPassword() : undefined };
    const { signal } = context;
    const ui = noBrowser ? withoutBrowser(terminal) : terminal;
    if (isRegistryHost(name, session)) {
      const places = await loginToHost(name, ui, session, { given, signal });
      bot.info(`Logged in to ${name}; the login is kept in ${places.join(' and ')}`);
      return;
    }
    const wasTried = await loginWith(name, ui, session, { given, signal });
    bot.info(
      wasTried ? `Logged in to ${name}` : `The credentials for ${name} are saved, but could not be tried`,
    );
  },
});

const withoutBrowser = (ui: LoginUi): LoginUi => ({
  isInteractive: ui.isInteractive,
  browserElsewhere: true,
  ask: (...question) => ui.ask(...question),
  show: (invitation) => ui.show(invitation),
});

function backendOf(given: string | undefined, session: Session): string {
  const name = given ?? preferredBackend(session);
  if (name !== undefined) return name;
  throw new SregistryError('USAGE', 'No backend is given and none is active', {
    hint: `There are ${session.backendNames.join(', ')}. Name one, a service such as google-drive, or the host of an OCI registry`,
  });
}

async function readPassword(): Promise<string> {
  return (await text(process.stdin)).replace(/\r?\n$/, '');
}

const logoutCommand = defineSubcommand({
  command: 'logout [backend]',
  describe: 'Forget the login to a backend or registry, and revoke it where the service can',
  build: (yargs) => yargs.positional('backend', BACKEND),
  examples: [['sregistry auth logout lab', 'Forget the login to lab']],

  async run({ backend }, context) {
    await using session = await openSession(context);
    const name = backendOf(backend, session);
    const isHost = isRegistryHost(name, session);
    const removed = await (isHost ? logoutFromHost : logout)(name, session, context.signal);
    const where = isHost ? "docker's or apptainer's configuration" : 'the secrets file';
    bot.info(removed ? `Logged out of ${name}` : `There is no login to ${name} in ${where}`);
  },
});

const statusCommand = defineSubcommand({
  command: 'status [backend]',
  describe: 'Show the credentials, where they come from, and whether the services accept them',
  build: (yargs) =>
    yargs
      .positional('backend', { ...BACKEND, defaultDescription: 'all configured ones' })
      .options(JSON_OPTION),
  examples: [['sregistry auth status', 'Show the logins of all backends']],

  async run({ backend, json }, context) {
    await using session = await openSession(context);
    const names =
      backend === undefined ? [...session.backendNames, ...(await hostsWithLogin(session))] : [backend];
    const statusOf = (name: string) =>
      isRegistryHost(name, session)
        ? hostStatus(name, session, context.signal)
        : loginStatus(name, session, context.signal);
    const all = await Promise.all([...new Set(names)].map(statusOf));
    if (json) printJson(all);
    else
      bot.table(all.map(toRow), { header: ['backend', 'service', 'credentials', 'answer'], numbered: false });
    return all.every(({ ok }) => ok) ? 0 : 1;
  },
});

function toRow({ backend, target, places, ok, error }: LoginStatus): string[] {
  const set = Object.entries(places).map(([name, place]) => `${name} (${place})`);
  return [backend, target ?? '', set.join(', ') || '-', ok ? 'ok' : (error ?? '')];
}

export default { subcommands: [loginCommand, logoutCommand, statusCommand] } satisfies Group;
