/** The faulting proxy (proxy-process.ts) as its parent sees it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Counts, FromProxy, Plan, ToProxy } from './proxy-process.ts';

export class FaultingProxy {
  readonly url: string;
  readonly #child: ChildProcess;

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
  }

  /** Starts one in front of `origin`, which is `http://host:port`. */
  static async start(origin: string, seed: string): Promise<FaultingProxy> {
    const child = fork(join(import.meta.dirname, 'proxy-process.ts'), [origin, seed], { execArgv: [] });
    const [message] = (await once(child, 'message')) as [FromProxy];
    if (!('url' in message)) throw new Error('the proxy did not say where it listens');
    return new FaultingProxy(message.url, child);
  }

  spoil(plan: Plan): void {
    this.#send({ plan });
  }

  /** No more faults; what they hold up ends. */
  calm(): void {
    this.#send({ calm: true });
  }

  async count(): Promise<Counts> {
    const answered = once(this.#child, 'message') as Promise<[FromProxy]>;
    this.#send({ count: true });
    const [message] = await answered;
    if (!('counts' in message)) throw new Error('the proxy did not say what it counted');
    return message.counts;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.disconnect();
    await ended;
  }

  #send(message: ToProxy): void {
    this.#child.send(message);
  }
}
