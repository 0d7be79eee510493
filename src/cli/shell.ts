/**
 * The shell: JavaScript with a client at hand, as in the Python client. On a terminal it is Node's REPL. With a script on
 * stdin it behaves like `node < script`: it runs the script to its end, and exits with 1 if the script throws. Both know the
 * same names and allow `await` anywhere.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { type REPLServer, start } from 'node:repl';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import { describeError, isError, type SregistryError } from '../base/errors.ts';
import { type Client, getClient } from '../client/client.ts';
import { mkdirP } from '../client/files.ts';
import * as helpers from '../client/helpers.ts';
import { bot, redact } from '../log/index.ts';
import { getPaths } from '../settings/paths.ts';
import { type Context, defineCommand, type Outcome } from './command.ts';
import { runScript } from './script.ts';

export default defineCommand({
  build: (yargs) =>
    yargs.positional('backend', {
      type: 'string',
      describe: 'Name of a backend, or a URI',
      defaultDescription: 'the active one',
    }),
  examples: [
    ['sregistry shell lab', 'Try things out: await client.search("hello")'],
    ['sregistry shell lab < script.js', 'Run a script'],
  ],

  async run({ backend }, context) {
    await using client = await getClient(backend, { env: context.env });
    // Use the values of this realm, so that an error of the library is an instance of Error for the script, too.
    Object.assign(globalThis, helpers, { client });
    if (process.stdin.isTTY) await converse(client, context);
    else return await tell(runScript(await text(process.stdin)));
  },
});

/** Ends with Ctrl-D, `.exit`, or a signal. */
async function converse(client: Client, { env, signal }: Context): Promise<void> {
  const { logDir } = getPaths(env);
  await mkdirP(logDir);
  client.speak();
  // Ctrl-C interrupts the entered code, not the shell. Node does that only without another listener for the signal.
  process.removeAllListeners('SIGINT');
  const server = start({
    prompt: `${client.clientName}> `,
    useGlobal: true,
    breakEvalOnSigint: true,
    writer: show,
  });
  await keepHistory(server, join(logDir, 'shell-history'));
  const close = () => server.close();
  signal.addEventListener('abort', close);
  await once(server, 'exit');
  signal.removeEventListener('abort', close);
}

/** A value as the shell prints it. */
function show(value: unknown): string {
  const colors = process.stdout.isTTY && process.stdout.hasColors();
  const text = isError(value) ? explain(value) : inspect(value, { colors, depth: 4 });
  return redact(text);
}

function explain(error: SregistryError): string {
  const message = `${error.code}: ${describeError(error)}`;
  return error.hint === undefined ? message : `${message}\nHint: ${error.hint}`;
}

/** Keeps the history of input for the next time, readable to this user only. */
function keepHistory(server: REPLServer, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.setupHistory(file, (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * An error of the script's own code is printed with its position, for the script's author. An error of the library has its own
 * message.
 */
async function tell(script: Promise<void>): Promise<Outcome> {
  try {
    await script;
    return 0;
  } catch (error) {
    if (isError(error)) throw error;
    bot.error(inspect(error));
    return 1;
  }
}
