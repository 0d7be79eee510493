/**
 * Login flows for the `login` of a driver. The person opens a URL in a browser and grants access. The grant comes back in one of three
 * ways: as a code that the person copies, as a redirect to this machine, or, if the browser is on another device, by polling the
 * service. oauth.ts renews the tokens afterwards.
 */
import { SregistryError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import type { LoginUi } from './backend.ts';
import { listenOnLoopback } from './loopback.ts';
import { createOAuth, type OAuthOptions, type OAuthService, type Tokens } from './oauth.ts';

/** Milliseconds that a person has to grant access before the redirect. */
const REDIRECT_TIMEOUT = 10 * 60_000;
/** Seconds after which an entered code is no longer valid (RFC 6749 section 4.1.2: at most ten minutes). */
const CODE_LIFETIME = 600;

type Ui = Pick<LoginUi, 'ask' | 'show'>;

/** Shows the URL and asks for the code the person gets there. Throws CANCELED if they enter nothing. */
export async function loginByCode(url: string | URL, ui: Ui): Promise<string> {
  ui.show({ url: String(url) });
  const code = (await ui.ask('Code:')).trim();
  if (code === '') throw new SregistryError('CANCELED', 'No code was entered');
  registerSecret(code, CODE_LIFETIME);
  return code;
}

/**
 * Gets tokens by a code that the service shows to the person, with PKCE. Works without a browser on this machine. `redirectUri` is the
 * service's own page for it; undefined if the service shows the code to those who name no page. Throws CANCELED if the person enters
 * nothing.
 */
export async function loginByPastedCode(
  service: OAuthService,
  redirectUri: string | undefined,
  ui: Ui,
  options: OAuthOptions = {},
): Promise<Tokens> {
  await using oauth = await createOAuth(service, options);
  const { url, redeemCode } = await oauth.authorize(redirectUri);
  return await redeemCode(await loginByCode(url, ui));
}

/**
 * Gets tokens by a redirect to this machine, with PKCE (RFC 7636). For services with an authorization endpoint that accept
 * `http://127.0.0.1:<any port>/`. If the browser is elsewhere, the person pastes the address that it was sent to and could not open.
 * Throws TIMED_OUT after ten minutes, FORBIDDEN if the person refuses.
 */
export async function loginByRedirect(
  service: OAuthService,
  ui: Pick<LoginUi, 'show'> & Partial<Pick<LoginUi, 'ask' | 'browserElsewhere'>>,
  options: OAuthOptions = {},
): Promise<Tokens> {
  await using oauth = await createOAuth(service, options);
  if (ui.browserElsewhere && ui.ask !== undefined) {
    const { url, state, redeem } = await oauth.authorize(NOWHERE);
    ui.show({ url: url.href });
    const pasted = await ui.ask('Address that the browser could not open in the end (http://127.0.0.1...):');
    return await redeem(pastedAnswer(pasted.trim(), state));
  }
  await using loopback = await listenOnLoopback();
  const { url, state, redeem } = await oauth.authorize(loopback.redirectUri);
  ui.show({ url: url.href });
  return await redeem(await loopback.answer(state, limited(options.signal)));
}

/** Nothing listens there; only the address is of use. */
const NOWHERE = 'http://127.0.0.1:1/';

/** The redirect, from what a person pastes: its address, or only the code in it. */
function pastedAnswer(text: string, state: string): URL {
  if (text === '') throw new SregistryError('CANCELED', 'No address was entered');
  const answer = URL.parse(text) ?? new URL(`${NOWHERE}?${new URLSearchParams({ code: text, state })}`);
  registerSecret(answer.searchParams.get('code') ?? text, CODE_LIFETIME);
  return answer;
}

/** Gets tokens by a code that the person enters on any device (RFC 8628); for services with a device authorization endpoint. */
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
