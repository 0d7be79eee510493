/** `sregistry push --kept` and `--drop`: files that were written into a mount and not pushed. */
import { describeError, SregistryError } from '../base/errors.ts';
import { dropKept, isTaken, type Kept, listKept, pushKept } from '../client/kept.ts';
import type { Session } from '../client/session.ts';
import { askMount } from '../fs/control.ts';
import { listMounts } from '../fs/mount-record.ts';
import { bot } from '../log/index.ts';
import type { Context, Outcome } from './command.ts';
import { printJson } from './json.ts';
import { progressBar } from './progress.ts';
import { openSession } from './session.ts';

export type Act = 'push' | 'drop';

interface Result {
  readonly uri: string;
  readonly state: 'pushed' | 'dropped' | 'failed';
  readonly error?: string;
}

/** Pushes or drops the files of `uri`, or all. Returns 1 if one could not be pushed or dropped. */
export async function decideKept(
  act: Act,
  { uri, json }: { uri: string | undefined; json: boolean | undefined },
  context: Context,
): Promise<Outcome> {
  await using session = await openSession(context);
  const results: Result[] = [];
  for (const kept of listKept(session, uri)) {
    results.push(await decide(act, session, kept, context));
    if (!json) tell(results.at(-1) as Result);
  }
  if (json) printJson(results);
  else if (results.length === 0) bot.info('No file is kept.');
  return results.some(({ state }) => state === 'failed') ? 1 : 0;
}

async function decide(act: Act, session: Session, kept: Kept, context: Context): Promise<Result> {
  const { uri } = kept;
  try {
    if (isTaken(session, kept)) await askItsMount(act, session, kept, context);
    else if (act === 'drop') await dropKept(session, kept);
    else {
      using bar = progressBar(uri);
      await pushKept(session, kept, { progress: bar.progress, signal: context.signal });
    }
    return { uri, state: act === 'push' ? 'pushed' : 'dropped' };
  } catch (error) {
    context.signal.throwIfAborted();
    return { uri, state: 'failed', error: describeError(error) };
  }
}

/** Asks the mount that owns the file: only that mount may push or drop it. */
async function askItsMount(act: Act, session: Session, kept: Kept, { signal }: Context): Promise<void> {
  const { runtimeDir } = session.paths;
  const mount = (await listMounts(runtimeDir)).find(({ pid }) => pid === kept.owner.pid);
  if (mount === undefined) {
    throw new SregistryError(
      'BUSY',
      `${kept.uri} belongs to process ${kept.owner.pid}, which is not a mount of yours`,
    );
  }
  await askMount(runtimeDir, mount.mountpoint, 'kept', { record: kept.id, act }, 0, signal);
}

function tell({ uri, state, error }: Result): void {
  if (error === undefined) bot.data(`${state.padEnd(8)} ${uri}`);
  else bot.error(`${uri}: ${error}`);
}
