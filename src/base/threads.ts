/**
 * Worker threads for what would keep the event loop busy: a mount must answer meanwhile. The process has one pool of them, with at
 * most one thread for each processor.
 *
 * A job is a module that exports `run`, a {@link JobRun}. Jobs share threads: a job that waits, for a disk or for bytes that its
 * starter sends, holds up no other. A job that computes for long holds up those of its thread.
 */
import { availableParallelism, totalmem } from 'node:os';
import { MessageChannel, type MessagePort, type Transferable, Worker } from 'node:worker_threads';
import { SregistryError, systemCode } from './errors.ts';
import { entryModule } from './package.ts';
import { type PackedError, unpackError } from './packed-error.ts';

/** What a job is given besides its input. `In` is what its starter sends, `Out` what it sends to its starter. */
export interface JobContext<In = never, Out = never> {
  /** Aborted when the starter's signal is. */
  readonly signal: AbortSignal;
  /** Takes the messages of the starter in their order, those that came already first. */
  receive(take: (message: In) => void): void;
  /** @param transfer buffers in the message that move instead of being copied. */
  send(message: Out, transfer?: readonly Transferable[]): void;
}

/** A job. Its result is copied to its starter, but for the buffers that {@link moved} names. */
export type JobRun<Input, Result, In = never, Out = never> = (
  input: Input,
  context: JobContext<In, Out>,
) => Result | Promise<Result>;

export interface JobOptions<Out> {
  /** The job is told, and `result` rejects with the signal's reason at once: the job may still end something. */
  readonly signal?: AbortSignal | undefined;
  /** Buffers in the input that move instead of being copied. */
  readonly transfer?: readonly Transferable[] | undefined;
  readonly onMessage?: ((message: Out) => void) | undefined;
}

export interface Job<Result, In> {
  readonly result: Promise<Result>;
  send(message: In, transfer?: readonly Transferable[]): void;
}

/** What goes to a thread. */
export interface ThreadTask {
  readonly module: string;
  readonly input: unknown;
  readonly port: MessagePort;
}

/** What goes to a job. */
export type ToJob = { readonly message: unknown } | { readonly abort: true };
/** What comes from a job. */
export type FromJob =
  | { readonly message: unknown }
  | { readonly result: unknown }
  | { readonly failure: PackedError };

interface Thread {
  readonly worker: Worker;
  /** Ends each job of the thread with an error, when the thread dies. */
  readonly jobs: Set<(error: Error) => void>;
  idle?: NodeJS.Timeout | undefined;
}

/** The most threads that there are: one for each processor. */
export const THREADS = availableParallelism();
/**
 * MiB of a thread's heap. With a limit of its own, a thread that reaches it ends alone; without one, the process does. Describing an
 * image of a million files takes about 1,200.
 */
const MEMORY = Math.floor(Math.min(4096, totalmem() / 2 ** 20 / 2));
/**
 * MiB of a thread's young objects. At its limit a thread gets 16 MiB more, in which the collection under way must end; one that
 * moves more young objects than that into the full heap ends the process.
 */
const YOUNG = 8;
/** Milliseconds after which a thread without a job ends. */
const IDLE = 10_000;

const threads = new Set<Thread>();

/**
 * Starts a job in a thread.
 * @param module exports `run`, see {@link JobRun}; {@link entryModule} names it.
 */
export function startJob<Input, Result, In = never, Out = never>(
  module: URL,
  input: Input,
  { signal, transfer = [], onMessage }: JobOptions<Out> = {},
): Job<Result, In> {
  const { port1: port, port2 } = new MessageChannel();
  const send = (message: ToJob, moved: readonly Transferable[] = []) => port.postMessage(message, moved);
  const result = new Promise<Result>((resolve, reject) => {
    signal?.throwIfAborted();
    const thread = pick();
    const abort = () => {
      send({ abort: true });
      reject(signal?.reason);
    };
    const end = () => {
      signal?.removeEventListener('abort', abort);
      port.close();
      release(thread, died);
    };
    const died = (error: Error) => {
      end();
      reject(error);
    };
    port.on('message', (told: FromJob) => {
      if ('message' in told) {
        onMessage?.(told.message as Out);
        return;
      }
      end();
      if ('result' in told) resolve(told.result as Result);
      else reject(unpackError(told.failure));
    });
    signal?.addEventListener('abort', abort);
    thread.jobs.add(died);
    const task: ThreadTask = { module: module.href, input, port: port2 };
    thread.worker.postMessage(task, [port2, ...transfer]);
  });
  // Whoever sends to the job may learn of its failure later.
  result.catch(() => {});
  return { result, send: (message, moved) => send({ message }, moved) };
}

/** Runs a job that needs no messages. */
export function runJob<Input, Result>(
  module: URL,
  input: Input,
  options: JobOptions<never> = {},
): Promise<Result> {
  return startJob<Input, Result>(module, input, options).result;
}

/** A thread without a job, else a new one, else the one with the fewest jobs. */
function pick(): Thread {
  const all = [...threads].sort((a, b) => a.jobs.size - b.jobs.size);
  const least = all[0];
  const thread = least === undefined || (least.jobs.size > 0 && all.length < THREADS) ? create() : least;
  clearTimeout(thread.idle);
  thread.worker.ref();
  return thread;
}

function create(): Thread {
  const worker = new Worker(entryModule('base/thread'), {
    resourceLimits: { maxOldGenerationSizeMb: MEMORY, maxYoungGenerationSizeMb: YOUNG },
  });
  const thread: Thread = { worker, jobs: new Set() };
  let failure: Error | undefined;
  worker.on('error', (error) => {
    failure = systemCode(error) === 'ERR_WORKER_OUT_OF_MEMORY' ? outOfMemory(error) : (error as Error);
  });
  worker.on('exit', (code) => {
    threads.delete(thread);
    const error = failure ?? new Error(`The worker thread ended with ${code}`);
    for (const died of thread.jobs) died(error);
  });
  threads.add(thread);
  return thread;
}

/** The error of every job of a thread: which of them took the memory, nobody can tell. */
function outOfMemory(cause: unknown): SregistryError {
  return new SregistryError('INTERNAL', `A thread needed more than ${MEMORY} MiB of memory`, {
    hint: 'Try again; if it fails again, the image has too many files, or is made to do harm',
    cause,
  });
}

function release(thread: Thread, job: (error: Error) => void): void {
  thread.jobs.delete(job);
  if (thread.jobs.size > 0 || !threads.has(thread)) return;
  // A process may end while its threads are idle.
  thread.worker.unref();
  thread.idle = setTimeout(() => {
    threads.delete(thread);
    void thread.worker.terminate();
  }, IDLE).unref();
}
