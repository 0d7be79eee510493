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
    // Not even a quiet bot keeps it to itself: nothing would go on.
    bot.log(`Open this address in a browser, allow access${entering}:\n${url}`);
  },
};

function requireTerminal(what: string): void {
  if (isInteractive()) return;
  throw new SregistryError('SETTINGS', `${what}, and there is no terminal to ask on`, {
    hint: 'Do it once in a terminal; what it gives is kept, or can be set with: sregistry backend add NAME VARIABLE VALUE',
  });
}
