/** A worker thread of threads.ts: runs the jobs that it is given, each beside the others. */
import { type MessagePort, parentPort, type Transferable } from 'node:worker_threads';
import { takeMoved } from './moved.ts';
import { packError } from './packed-error.ts';
import type { FromJob, JobContext, JobRun, ThreadTask, ToJob } from './threads.ts';

parentPort?.on('message', ({ module, input, port }: ThreadTask) => void runTask(module, input, port));

async function runTask(module: string, input: unknown, port: MessagePort): Promise<void> {
  const send = (told: FromJob, moved: readonly Transferable[] = []) => port.postMessage(told, moved);
  const aborter = new AbortController();
  const early: unknown[] = [];
  let take = (message: unknown): void => {
    early.push(message);
  };
  port.on('message', (told: ToJob) => {
    if ('abort' in told) aborter.abort();
    else take(told.message);
  });
  const context: JobContext<unknown, unknown> = {
    signal: aborter.signal,
    receive: (taker) => {
      take = taker;
      for (const message of early.splice(0)) taker(message);
    },
    send: (message, moved) => send({ message }, moved),
  };
  try {
    const { run } = (await import(module)) as { run: JobRun<unknown, unknown, unknown, unknown> };
    const result = await run(input, context);
    send({ result }, takeMoved(result));
  } catch (error) {
    send({ failure: packError(error) });
  } finally {
    port.close();
  }
}
