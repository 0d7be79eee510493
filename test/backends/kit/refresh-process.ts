/**
 * A process that needs access tokens again and again: `node refresh-process.ts <token service> <file> <refresh token> <rounds>`.
 * Says `ready`, begins when a line comes in, and prints a token a line.
 */
import { once } from 'node:events';
import { refreshedTokens } from '../../../src/backends/kit/refresh-tokens.ts';
import { createOAuth } from '../../../src/backends/oauth.ts';
import { registrationAt } from '../../servers/oauth-server.ts';

const [url = '', file = '', refreshToken = '', rounds = '1'] = process.argv.slice(2);
const oauth = await createOAuth(registrationAt({ url }), { env: {} });
const obtain = refreshedTokens({
  backend: 'drive',
  refreshToken,
  file,
  renew: (token) => oauth.refresh(token),
});
console.log('ready');
await once(process.stdin, 'data');
for (let round = 0; round < Number(rounds); round++) {
  const { value } = await obtain(new AbortController().signal);
  console.log(value);
}
await oauth[Symbol.asyncDispose]();
process.exit(0);
