/** Lets a login ask questions on the terminal of this process. */
import type { Invitation, LoginUi } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import { bot } from '../log/index.ts';
import { ask, isInteractive } from './prompt.ts';

export const terminal: LoginUi = {
  get isInteractive() {
    return isInteractive();
  },

  async ask(question, options) {
    requireTerminal(`"${question}" has to be answered`);
    return ask(question, options);
  },

  show({ url, code }: Invitation) {
    requireTerminal(`Someone has to allow access at ${url}`);
    const entering = code === undefined ? '' : `, and enter the code ${code}`;
    // Printed even if the bot is quiet: without the address, the login cannot continue.
    bot.log(`Open this address in a browser, allow access${entering}:\n${url}`);
  },
};

function requireTerminal(what: string): void {
  if (isInteractive()) return;
  throw new SregistryError('SETTINGS', `${what}, and there is no terminal to ask on`, {
    hint: 'Log in once in a terminal, or set the credentials with: sregistry backend add NAME VARIABLE VALUE',
  });
}
