/** Two minutes of `npm run torture`, with a seed that stays the same. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const MINUTES = 2;
/** Milliseconds: a round that has begun is finished, on whatever machine. */
const LIMIT = 15 * 60_000;

needs({ fuse: true, registry: true })('mounts under kills, faults and small disks', () => {
  test(
    'Nothing is lost and nothing is mixed.',
    async () => {
      const json = join(temporaryFolder(), 'torture.json');
      const args = ['--minutes', String(MINUTES), '--seed', '1', '--json', json];
      const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts'), ...args], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let told = '';
      child.stderr.on('data', (chunk) => {
        told += chunk;
      });
      await once(child, 'close');
      expect(child.exitCode, told).toBe(0);
      const { rounds, kills, faults, reads, writes, violations } = JSON.parse(readFileSync(json, 'utf8'));
      expect(violations).toEqual([]);
      // That it did something, on however slow a machine.
      expect(rounds).toBeGreaterThanOrEqual(1);
      expect(kills.total).toBeGreaterThanOrEqual(5);
      expect(faults.total).toBeGreaterThanOrEqual(5);
      expect(reads.count).toBeGreaterThanOrEqual(50);
      expect(writes.done).toBeGreaterThanOrEqual(1);
    },
    LIMIT,
  );
});
