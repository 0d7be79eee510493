import { Session, type SessionOptions } from '../client/session.ts';
import { bot } from '../log/index.ts';
import type { Context } from './command.ts';

/**
 * The session of a command; `await using` closes it. Warns about errors in the secrets file. A command evicts cached images only for
 * those that it brings, as it does not know the limits of a mount on the same cache.
 */
export async function openSession({ env }: Context, options: SessionOptions = {}): Promise<Session> {
  const session = await Session.open({ fitCache: false, ...options, env });
  for (const problem of session.problems) bot.warning(problem);
  return session;
}
