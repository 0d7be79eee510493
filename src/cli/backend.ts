import { resolve } from 'node:path';
import { CAPABILITIES } from '../backends/backend.ts';
import { drivers } from '../backends/registry.ts';
import { SregistryError } from '../base/errors.ts';
import { type BackendSummary, describeBackend, listBackends, listCapabilities } from '../client/backends.ts';
import { newBackend } from '../client/new-backend.ts';
import { bot } from '../log/index.ts';
import { driverNamed, instanceNamed } from '../settings/instances.ts';
import { isJsonObject } from '../settings/json.ts';
import { getPaths } from '../settings/paths.ts';
import {
  activateClient,
  activeBackend,
  deactivateClient,
  deleteClient,
  readClientSecrets,
  removeClientSecret,
} from '../settings/secrets.ts';
import { writeInstance } from '../settings/write-instance.ts';
import { defineSubcommand, type Group } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';

const NAME = { type: 'string', demandOption: true, describe: 'Name of the backend' } as const;

const configurationOf = async (env: NodeJS.ProcessEnv) => ({
  env,
  secrets: await readClientSecrets(getPaths(env).secretsFile),
});

const ls = defineSubcommand({
  command: 'ls [name]',
  describe: 'List the backends, or show the settings of one; secrets are masked',
  build: (yargs) =>
    yargs.positional('name', { type: 'string', describe: 'Name of the backend' }).options({
      capabilities: { type: 'boolean', describe: 'Show what each kind of backend can do' },
      ...JSON_OPTION,
    }),
  examples: [
    ['sregistry backend ls', 'List the configured backends'],
    ['sregistry backend ls --capabilities', 'List all kinds of backends'],
  ],

  async run({ name, capabilities, json }, { env }) {
    if (capabilities) return printCapabilities(json);
    const configuration = await configurationOf(env);
    if (name !== undefined) {
      const backend = describeBackend(name, configuration);
      return printJson(json ? backend : settingsOf(backend));
    }
    const backends = listBackends(configuration);
    if (json) return printJson(backends);
    bot.table(backends.map(toRow), { header: ['', 'name', 'driver', 'settings'], numbered: false });
  },
});

function printCapabilities(json: boolean | undefined): undefined {
  const all = listCapabilities();
  if (json) return printJson(all);
  const rows = all.map(({ driver, can }) => [
    driver,
    ...CAPABILITIES.map((name) => (can[name] ? 'yes' : '-')),
  ]);
  bot.table(rows, { header: ['driver', ...CAPABILITIES], numbered: false });
}

/** The options that are set, by name. */
function settingsOf({ options }: BackendSummary): Record<string, string | boolean | number> {
  const set = Object.entries(options).flatMap(([option, { value }]) =>
    value === undefined ? [] : [[option, value] as const],
  );
  return Object.fromEntries(set.sort(([a], [b]) => a.localeCompare(b)));
}

function toRow(backend: BackendSummary): string[] {
  const { name, driver, active, missing } = backend;
  const settings = Object.entries(settingsOf(backend)).map(([option, value]) => `${option}=${value}`);
  const lacks = missing.length > 0 ? [`lacks ${missing.join(', ')}`] : [];
  return [active ? '*' : '', name, driver, [...settings, ...lacks].join(' ')];
}

const status = defineSubcommand({
  command: 'status',
  describe: 'Show how many backends are in the secrets file, and which is active',
  build: (yargs) => yargs.options(JSON_OPTION),
  examples: [['sregistry backend status', 'Which one is active?']],

  async run({ json }, { env }) {
    const { secrets } = await configurationOf(env);
    const clients = Object.values(secrets).filter(isJsonObject).length;
    const active = activeBackend(secrets);
    if (json) return printJson({ clients, active });
    bot.data(`There are ${clients} clients found in secrets.`);
    bot.data(active === undefined ? 'There is no active client.' : `active: ${active}`);
  },
});

const activate = defineSubcommand({
  command: 'activate <name>',
  describe: 'Use this backend for names without one',
  build: (yargs) => yargs.positional('name', NAME),
  examples: [['sregistry backend activate lab', 'Make lab the default']],

  async run({ name }, { env }) {
    const { secrets } = await configurationOf(env);
    const instance = instanceNamed(name, { drivers, secrets });
    await activateClient(name, getPaths(env).secretsFile);
    bot.info(`[activate] ${instance.name}`);
  },
});

const deactivate = defineSubcommand({
  command: 'deactivate',
  describe: 'Use no backend by default',
  build: (yargs) => yargs,
  examples: [['sregistry backend deactivate', 'Use no backend by default']],

  async run(_args, { env }) {
    const wasActive = await deactivateClient(getPaths(env).secretsFile);
    bot.info(wasActive ? '[deactivate]' : 'There is no active client.');
  },
});

const add = defineSubcommand({
  command: 'add <name> [settings..]',
  describe: 'Configure a backend',
  build: (yargs) =>
    yargs
      .positional('name', NAME)
      .positional('settings', {
        type: 'string',
        array: true,
        default: [] as string[],
        describe: 'KEY=VALUE..., or one KEY VALUE',
      })
      .options({
        driver: {
          type: 'string',
          requiresArg: true,
          describe: 'Kind of service; default: the name',
          choices: drivers.map(({ name }) => name),
        },
        force: { type: 'boolean', alias: 'f', describe: 'Replace settings' },
      }),
  examples: [
    [
      'sregistry backend add lab --driver oci base=http://localhost:5000',
      'A registry of your own, called lab',
    ],
    ['sregistry backend add lab username me -f', 'Change one setting'],
  ],

  async run({ name, settings, driver, force }, { env }) {
    const { secrets } = await configurationOf(env);
    const wanted = driver === undefined ? undefined : driverNamed(driver, drivers);
    const written = await writeInstance(
      {
        name,
        driver: wanted ?? instanceNamed(name, { drivers, secrets }).driver,
        drivers,
        pairs: parseSettings(settings),
        force: force ?? false,
        env,
      },
      getPaths(env).secretsFile,
    );
    bot.info(`[add] ${[name, ...written].join(' ')}`);
  },
});

/** `KEY=VALUE...`, or the Python tool's `KEY VALUE`. */
function parseSettings(settings: readonly string[]): Record<string, string> {
  const [key, value, ...rest] = settings;
  if (key !== undefined && value !== undefined && rest.length === 0 && !key.includes('='))
    return { [key]: value };
  return Object.fromEntries(
    settings.map((setting) => {
      const [, name, text] = /^([^=]+)=(.*)$/s.exec(setting) ?? [];
      if (name !== undefined && text !== undefined) return [name, text];
      throw new SregistryError('USAGE', `"${setting}" is not a setting`, { hint: 'Write KEY=VALUE' });
    }),
  );
}

const rm = defineSubcommand({
  command: 'rm <name> <key>',
  aliases: ['remove'],
  describe: 'Remove one setting of a backend from the secrets file',
  build: (yargs) =>
    yargs
      .positional('name', NAME)
      .positional('key', { type: 'string', demandOption: true, describe: 'Name of the setting' }),
  examples: [['sregistry backend rm lab password', 'Forget a password']],

  async run({ name, key }, { env }) {
    if (!(await removeClientSecret(name, key, getPaths(env).secretsFile))) {
      throw new SregistryError('NOT_FOUND', `${name} has no ${key} in the secrets file`, {
        hint: `sregistry backend ls ${name} shows what it has`,
      });
    }
    bot.info(`[remove] ${name} ${key}`);
  },
});

const deletion = defineSubcommand({
  command: 'delete <name>',
  describe: 'Remove a backend with all its settings from the secrets file',
  build: (yargs) => yargs.positional('name', NAME),
  examples: [['sregistry backend delete lab', 'Forget the backend lab']],

  async run({ name }, { env }) {
    if (!(await deleteClient(name, getPaths(env).secretsFile))) {
      throw new SregistryError('NOT_FOUND', `${name} is not in the secrets file`, {
        hint: 'sregistry backend ls lists the backends',
      });
    }
    bot.info(`[delete] ${name}`);
  },
});

const creation = defineSubcommand({
  command: 'new <name>',
  describe: 'Start a driver for another kind of service, in a checkout of sregistry',
  build: (yargs) =>
    yargs.positional('name', { type: 'string', demandOption: true, describe: 'Name of the driver' }).options({
      dir: { type: 'string', requiresArg: true, default: '.', describe: 'The checkout' },
      ...JSON_OPTION,
    }),
  examples: [['sregistry backend new acme', 'Make src/backends/acme, its test and its page']],

  async run({ name, dir, json }) {
    const files = await newBackend({ name, checkout: resolve(dir) });
    if (json) return printJson(files);
    bot.data(files.join('\n'));
    bot.info('Continue with docs/contributing-a-backend.md');
  },
});

export default {
  subcommands: [ls, status, activate, deactivate, add, rm, deletion, creation],
} satisfies Group;
