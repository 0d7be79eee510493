/** What happens to processes in a round: kills, stops and ends at random, and mounts that come back as a user brings them back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Arena } from './arena.ts';
import { add } from './counters.ts';
import type { Random } from './random.ts';
import { DEADLINE, type MountPoint } from './rig.ts';
import type { Worker } from './workers.ts';

type Act = 'kill worker' | 'stop worker' | 'end worker' | 'kill mount' | 'stop mount' | 'end mount';

const ACTS: Record<Act, number> = {
  'kill worker': 40,
  'stop worker': 12,
  'end worker': 10,
  'kill mount': 8,
  'stop mount': 8,
  'end mount': 3,
};

/** Milliseconds of a stop: mostly short; sometimes longer than an operation on another mount may take. */
const SHORT_STOP = [100, 4_000] as const;
const LONG_STOP = [DEADLINE * 1000 + 5_000, DEADLINE * 1000 + 12_000] as const;
const LONG_STOP_CHANCE = 0.06;
/** Milliseconds after which a mount that was killed is mounted again. */
const ABSENCE = [0, 800] as const;
/** Milliseconds after which a mount that did not come back is tried once more. */
const SECOND_TRY = 1_000;

export class Chaos {
  readonly #arena: Arena;
  readonly #random: Random;
  readonly #workers: Set<Worker>;
  readonly #returns = new Set<Promise<void>>();

  constructor(arena: Arena, random: Random, workers: Set<Worker>) {
    this.#arena = arena;
    this.#random = random;
    this.#workers = workers;
  }

  /** Does something to somebody. */
  act(): void {
    const random = this.#random;
    const act = random.weighted(ACTS);
    const running = [...this.#workers].filter((worker) => worker.isRunning);
    const up = this.#arena.mounts.filter((mount) => mount.isUp && !mount.returning);
    const isOnMount = act.endsWith('mount');
    if ((isOnMount ? up : running).length === 0) return;
    if (isOnMount) this.#hit(act, random.pick(up));
    else this.#strike(act, random.pick(running));
  }

  /** Brings back what ended by itself: nothing but a signal may end a mount. */
  watch(): void {
    for (const mount of this.#arena.mounts) {
      if (mount.isUp || mount.returning) continue;
      this.#arena.violation('the mount process ended', `${mount.name} (process ${mount.pid})`);
      this.#bringBack(mount, 0);
    }
  }

  /** A system call on that mount does not end: tells where, and takes the mount away from under it. */
  async breakHang(worker: Worker): Promise<void> {
    worker.hangs = true;
    const seconds = Math.round(worker.silence / 1000);
    this.#arena.violation(
      'a system call does not end',
      `${worker.what}: nothing for ${seconds} s; ${worker.whereabouts()}`,
    );
    await worker.mount.cut();
    worker.signal('SIGKILL');
    worker.mount.signal('SIGKILL');
    if (!worker.mount.returning) this.#bringBack(worker.mount, 0);
  }

  /** Resolves when all that was stopped goes on and all that was killed is back. */
  async rest(): Promise<void> {
    for (const worker of this.#workers) worker.signal('SIGCONT');
    for (const mount of this.#arena.mounts) if (mount.stopped) mount.signal('SIGCONT');
    while (this.#returns.size > 0) await Promise.all(this.#returns);
  }

  #strike(act: Act, worker: Worker): void {
    if (act === 'stop worker') {
      if (worker.stopped) return;
      this.#signal('worker', worker, 'SIGSTOP');
      void sleep(this.#random.integer(...SHORT_STOP)).then(() => worker.signal('SIGCONT'));
      return;
    }
    this.#signal('worker', worker, act === 'kill worker' ? 'SIGKILL' : 'SIGTERM');
  }

  #hit(act: Act, mount: MountPoint): void {
    if (act === 'stop mount') {
      if (mount.stopped) return;
      const { pid } = mount;
      const isLong = this.#random.chance(LONG_STOP_CHANCE);
      this.#signal('mount', mount, 'SIGSTOP');
      void sleep(this.#random.integer(...(isLong ? LONG_STOP : SHORT_STOP))).then(() => {
        if (mount.stopped && mount.pid === pid) mount.signal('SIGCONT');
      });
      return;
    }
    if (act === 'end mount' && mount.stopped) return;
    this.#signal('mount', mount, act === 'kill mount' ? 'SIGKILL' : 'SIGTERM');
    this.#bringBack(mount, this.#random.integer(...ABSENCE));
  }

  #signal(whom: string, target: Worker | MountPoint, signal: NodeJS.Signals): void {
    add(this.#arena.counters.kills, `${whom} ${signal}`);
    target.signal(signal);
  }

  /** Mounts again, after its process has ended and a while. */
  #bringBack(mount: MountPoint, after: number): void {
    if (this.#arena.isGivenUp) return;
    mount.returning = true;
    const returned = this.#return(mount, after)
      .catch((error: Error) => this.#arena.violation('a mount does not come back', String(error.stack)))
      .finally(() => {
        mount.returning = false;
        this.#returns.delete(returned);
      });
    this.#returns.add(returned);
  }

  async #return(mount: MountPoint, after: number): Promise<void> {
    if (!(await mount.ended())) {
      this.#arena.violation(
        'a mount does not end',
        `${mount.name} (process ${mount.pid}), long after SIGTERM`,
      );
      await mount.destroy();
    }
    await sleep(after);
    if (this.#arena.isGivenUp) return;
    let outcome = await mount.mount();
    if (outcome.code !== 0) {
      // The kernel may still be taking the dead process apart; its user tries again.
      await sleep(SECOND_TRY);
      outcome = await mount.mount();
    }
    if (outcome.code === 0 && mount.isUp) return;
    const { code, stdout, stderr } = outcome;
    this.#arena.violation(
      'a mount does not come back',
      `${mount.name}: mount ended with ${code}: ${stderr}${stdout}`,
    );
    await mount.destroy();
    await mount.mount();
  }
}
