/** The background process of a mount, started by daemon.ts: one mount, its end, its log on stderr. */
import { describeError, SregistryError } from '../base/errors.ts';
import { lineLog } from '../log/index.ts';
import { Mount, type MountRequest } from './mount.ts';

export type ReadyMessage =
  | { ready: true }
  | { ready: false; code: string; message: string; hint: string | undefined };

const request = JSON.parse(process.argv[2] ?? '{}') as MountRequest;

const log = lineLog(request.logFormat ?? 'text', (line) => process.stderr.write(line));

process.on('unhandledRejection', (reason) =>
  log(`unhandled: ${(reason as Error)?.stack ?? reason}`, 'error'),
);

let mount: Mount | undefined;
let signalled = false;
const stop = () => {
  signalled = true;
  void mount?.end();
};
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
process.on('SIGHUP', () => {
  mount?.reload().catch((error) => log(`settings were not reloaded: ${describeError(error)}`, 'error'));
});

try {
  mount = await Mount.start(request, log);
  if (signalled) stop();
  tell({ ready: true });
  const failed = await mount.ended;
  if (failed.length > 0) process.exitCode = 1;
} catch (error) {
  log((error as Error).stack ?? String(error), 'error');
  const { code, message, hint } =
    error instanceof SregistryError ? error : new SregistryError('INTERNAL', String(error));
  await new Promise<void>((resolve) => tell({ ready: false, code, message, hint }, resolve));
  process.exitCode = 1;
}
// libfuse's threads would keep the process alive.
process.exit();

function tell(message: ReadyMessage, then: () => void = () => {}): void {
  if (!process.connected) then();
  else
    process.send?.(message, () => {
      process.disconnect();
      then();
    });
}
