import { Session, type SessionOptions } from '../client/session.ts';
import { bot } from '../log/index.ts';
import type { Context } from './command.ts';

/** The session of a command; `await using` closes it. What is wrong in the secrets file is a warning. */
export async function openSession({ env }: Context, options: SessionOptions = {}): Promise<Session> {
  const session = await Session.open({ ...options, env });
  for (const problem of session.problems) bot.warning(problem);
  return session;
}
