import { ask } from '../client/prompt.ts';

export { ask, isInteractive } from '../client/prompt.ts';

export async function confirm(question: string): Promise<boolean> {
  return /^y(es)?$/i.test((await ask(`${question} [y/N]`)).trim());
}
