import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { processStartTime } from '../../src/base/process.ts';
import { closeControl, serveControl } from '../../src/fs/control.ts';
import { unmountAt } from '../../src/fs/daemon.ts';
import { socketPath, writeRecord } from '../../src/fs/mount-record.ts';
import { getPaths } from '../../src/settings/paths.ts';
import { environment, temporaryFolder } from './support.ts';

const MOUNTPOINT = '/mnt/x';

test('a mount that takes no more questions while it is unmounted is heard out', async () => {
  const env = environment(await temporaryFolder());
  const { runtimeDir } = getPaths(env);
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  onTestFinished(() => void child.kill('SIGKILL'));
  const pid = child.pid as number;
  await mkdir(runtimeDir, { mode: 0o700 });
  await writeRecord(runtimeDir, {
    mountpoint: MOUNTPOINT,
    log: '',
    since: 1,
    pid,
    startTime: processStartTime(pid) as string,
  });
  const asked = Promise.withResolvers<void>();
  const gone = async () => {
    asked.resolve();
    throw new Error('it is about to end');
  };
  const server = await serveControl(socketPath(runtimeDir, MOUNTPOINT), {
    status: gone,
    forget: gone,
    kept: gone,
    unmount: async () => {
      await asked.promise;
      await sleep(50);
      child.kill('SIGKILL');
      return { cut: { files: [], pushes: ['told'] } };
    },
  });
  onTestFinished(() => closeControl(server));
  expect(await unmountAt(MOUNTPOINT, { force: false, env })).toEqual({ files: [], pushes: ['told'] });
});
