/**
 * Leading a person through a service's permission, for the `login` of a driver: they open an address in a browser, and what they
 * allow comes back as a code that they copy, as a redirect to this machine, or, where the browser is on another device, by
 * asking the service. oauth.ts renews the tokens afterwards.
 */
import { SregistryError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import type { LoginUi } from './backend.ts';
import { listenOnLoopback } from './loopback.ts';
import { createOAuth, type OAuthOptions, type OAuthService, type Tokens } from './oauth.ts';

/** Milliseconds that a person has for a redirect. */
const REDIRECT_TIMEOUT = 10 * 60_000;
/** Seconds after which a code that was entered is worth nothing (RFC 6749 section 4.1.2 has ten minutes at most). */
const CODE_LIFETIME = 600;

type Ui = Pick<LoginUi, 'ask' | 'show'>;

/** The code that a person gets at that address. CANCELED where they enter nothing. */
export async function loginByCode(url: string | URL, ui: Ui): Promise<string> {
  ui.show({ url: String(url) });
  const code = (await ui.ask('Code:')).trim();
  if (code === '') throw new SregistryError('CANCELED', 'No code was entered');
  registerSecret(code, CODE_LIFETIME);
  return code;
}

/**
 * Tokens by a redirect to this machine, with PKCE (RFC 7636). For services with an authorization endpoint that accept
 * `http://127.0.0.1:<any port>/`. TIMED_OUT after ten minutes, FORBIDDEN where the person refuses.
 */
export async function loginByRedirect(
  service: OAuthService,
  ui: Pick<Ui, 'show'>,
  options: OAuthOptions = {},
): Promise<Tokens> {
  await using oauth = await createOAuth(service, options);
  await using loopback = await listenOnLoopback();
  const { url, state, redeem } = await oauth.authorize(loopback.redirectUri);
  ui.show({ url: url.href });
  return await redeem(await loopback.answer(state, limited(options.signal)));
}

/** Tokens by a code that the person enters on whatever device (RFC 8628); for services with such an endpoint. */
export async function loginByDevice(
  service: OAuthService,
  ui: Pick<Ui, 'show'>,
  options: OAuthOptions = {},
): Promise<Tokens> {
  await using oauth = await createOAuth(service, options);
  const { url, code, completeUrl, wait } = await oauth.authorizeDevice();
  ui.show({ url: completeUrl ?? url, code });
  return await wait();
}

function limited(signal: AbortSignal | undefined): AbortSignal {
  const limit = AbortSignal.timeout(REDIRECT_TIMEOUT);
  return signal === undefined ? limit : AbortSignal.any([limit, signal]);
}
