/**
 * Tells systemd how the mount is: ready, reloading, alive, ending. The protocol is sd_notify(3): assignments in one datagram to the
 * socket that NOTIFY_SOCKET names. Node has no datagrams of that kind, so `systemd-notify`, which is part of systemd, sends them. It is
 * a child of this process, so the unit needs NotifyAccess=all.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describeError } from '../base/errors.ts';
import type { Log } from '../log/index.ts';

const run = promisify(execFile);

/** Milliseconds that telling may take. */
const TIME_LIMIT = 10_000;

export class ServiceManager {
  readonly #env: NodeJS.ProcessEnv;
  readonly #log: Log;
  #hasFailed = false;
  /** Messages arrive in the order in which they are sent. */
  #last: Promise<void> = Promise.resolve();

  private constructor(env: NodeJS.ProcessEnv, log: Log) {
    this.#env = env;
    this.#log = log;
  }

  /** Undefined if no service manager asks to be told. */
  static from(env: NodeJS.ProcessEnv, log: Log): ServiceManager | undefined {
    return env.NOTIFY_SOCKET ? new ServiceManager(env, log) : undefined;
  }

  /**
   * Milliseconds between two signs of life: half of what the watchdog waits. Undefined if there is no watchdog, or if it watches another
   * process; see sd_watchdog_enabled(3).
   */
  get watchdogInterval(): number | undefined {
    const { WATCHDOG_USEC, WATCHDOG_PID } = this.#env;
    if (WATCHDOG_PID && Number(WATCHDOG_PID) !== process.pid) return undefined;
    const microseconds = Number(WATCHDOG_USEC);
    return microseconds > 0 ? microseconds / 2000 : undefined;
  }

  ready(status: string): Promise<void> {
    return this.#tell('READY=1', `STATUS=${status}`);
  }

  /** The watchdog's sign of life. */
  alive(status: string): Promise<void> {
    return this.#tell('WATCHDOG=1', `STATUS=${status}`);
  }

  /** `ready` says when it is done. */
  reloading(): Promise<void> {
    // hrtime is CLOCK_MONOTONIC.
    return this.#tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`, 'STATUS=reloading');
  }

  stopping(status: string): Promise<void> {
    return this.#tell('STOPPING=1', `STATUS=${status}`);
  }

  /** Never rejects: a mount works without its service manager. */
  #tell(...assignments: string[]): Promise<void> {
    const send = async () => {
      try {
        await run('systemd-notify', assignments, {
          env: { ...process.env, NOTIFY_SOCKET: this.#env.NOTIFY_SOCKET },
          timeout: TIME_LIMIT,
        });
      } catch (error) {
        if (!this.#hasFailed) this.#log(`could not tell systemd: ${describeError(error)}`, 'warning');
        this.#hasFailed = true;
      }
    };
    this.#last = this.#last.then(send);
    return this.#last;
  }
}
