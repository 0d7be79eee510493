import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { isAlive, ownProcess, processStartTime } from '../../src/base/process.ts';

test('this process is alive', () => {
  expect(ownProcess().pid).toBe(process.pid);
  expect(isAlive(ownProcess())).toBe(true);
});

test('the same pid with another start time is another process', () => {
  expect(isAlive({ pid: process.pid, startTime: `${ownProcess().startTime}0` })).toBe(false);
});

test('a process is alive until it has ended, also while its parent has not yet asked for its exit code', async () => {
  // The shell starts a child, prints its pid and sleeps without waiting for it: the ended child stays a zombie.
  const shell = spawn('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const [line] = (await once(shell.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    await expect.poll(() => processStartTime(pid), { timeout: 10_000 }).toBeUndefined();
    const startTime = processStartTime(shell.pid as number);
    expect(startTime).toBeDefined();
    expect(isAlive({ pid: shell.pid as number, startTime: startTime as string })).toBe(true);
  } finally {
    shell.kill('SIGKILL');
    await once(shell, 'exit');
  }
});

test('a command name with spaces and parentheses does not confuse the reading of its start time', async () => {
  const child = spawn('bash', ['-c', 'printf "a) Z (b" > /proc/$$/comm; echo ready; read line'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  try {
    await once(child.stdout, 'data');
    expect(processStartTime(child.pid as number)).toMatch(/:\d+$/);
  } finally {
    child.stdin.end();
    await once(child, 'exit');
  }
});
