import { Session, type SessionOptions } from '../client/session.ts';
import { bot } from '../log/index.ts';
import type { Context } from './command.ts';

/** The session of a command; `await using` closes it. Warns about errors in the secrets file. */
export async function openSession({ env }: Context, options: SessionOptions = {}): Promise<Session> {
  const session = await Session.open({ ...options, env });
  for (const problem of session.problems) bot.warning(problem);
  return session;
}
