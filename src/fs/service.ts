/** A mount in the foreground, as a service manager or a person at a terminal runs it: signals, reloading, signs of life. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../base/errors.ts';
import type { Log } from '../log/index.ts';
import { Mount, type MountRequest } from './mount.ts';
import { serviceOf } from './mountpoint.ts';
import { ServiceManager } from './service-manager.ts';

export interface ServiceOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Ends the mount when it fires. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Does SIGHUP mean that settings are to be read anew? If not, it ends the mount, as the end of a terminal does. */
  readonly reloads: boolean;
}

/** Serves the mount until it ends. Returns the steps of its end that failed. */
export async function serveMount(request: MountRequest, options: ServiceOptions): Promise<readonly string[]> {
  const { env, signal, log } = options;
  const manager = ServiceManager.from(env, log);
  const mount = await Mount.start(request, log);
  const over = new AbortController();
  let ending: Promise<void> | undefined;
  const end = () => {
    ending ??= manager?.stopping(`waiting for ${mount.pushing} pushes, then unmounting`);
    void mount.end();
  };
  let reloading = Promise.resolve();
  const hangUp = () => {
    if (!options.reloads) return end();
    reloading = reloading.then(async () => {
      await manager?.reloading();
      await mount
        .reload()
        .catch((error) => log(`settings were not reloaded: ${describeError(error)}`, 'error'));
      await manager?.ready(mount.summary);
    });
  };
  process.on('SIGHUP', hangUp);
  signal.addEventListener('abort', end);
  try {
    if (signal.aborted) end();
    else if ((await serviceOf(mount.mountpoint)) === 'alive') await manager?.ready(mount.summary);
    const watching = manager && giveSigns(manager, mount, over.signal);
    const failed = await mount.ended;
    over.abort();
    await Promise.all([ending, watching, reloading]);
    return failed;
  } finally {
    process.off('SIGHUP', hangUp);
    signal.removeEventListener('abort', end);
  }
}

/** Tells the watchdog that the mount answers, as long as it does. */
async function giveSigns(manager: ServiceManager, mount: Mount, signal: AbortSignal): Promise<void> {
  const interval = manager.watchdogInterval;
  if (interval === undefined) return;
  while (!signal.aborted) {
    // Once the end has begun nothing is mounted, but the process is still of use: it waits for readers and pushes.
    if (mount.isEnding || (await serviceOf(mount.mountpoint)) === 'alive') await manager.alive(mount.summary);
    await sleep(interval, undefined, { signal }).catch(() => {});
  }
}
