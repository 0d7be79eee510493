import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { storeDockerLogin } from '../../src/settings/docker-login.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

test('a user with a colon is refused, as it would be read as another one', async () => {
  const home = temporaryFolder();
  const stored = storeDockerLogin('quay.io', { username: 'me:token', password: 'secret-1' }, { HOME: home });
  await expect(stored).rejects.toMatchObject({ code: 'USAGE' });
  expect(readdirSync(home)).toEqual([]);
});
