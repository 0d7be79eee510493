/**
 * Leading a person through a service's permission: they open an address in a browser, and what they allow comes back as a
 * code that they copy, as a redirect to this machine, or, where the browser is on another device, by asking the service.
 * Nobody is asked where there is no terminal.
 */
import { createOAuth, type OAuthOptions, type OAuthService, type Tokens } from '../backends/oauth.ts';
import { SregistryError } from '../base/errors.ts';
import { bot, registerSecret } from '../log/index.ts';
import { listenOnLoopback } from './loopback.ts';
import { ask, isInteractive } from './prompt.ts';

export type { OAuthService, Tokens };

/** What a person needs to know. */
export interface Invitation {
  /** The address to open. */
  readonly url: string;
  /** What to enter there; undefined where nothing is. */
  readonly code?: string | undefined;
}

export interface FlowOptions extends OAuthOptions {
  /** Shows the invitation. Default: it is printed. */
  readonly show?: ((invitation: Invitation) => void) | undefined;
}

/** Milliseconds that a person has for a redirect. */
const PATIENCE = 10 * 60_000;
/** Seconds after which a code that was entered is worth nothing (RFC 6749 section 4.1.2 has ten minutes at most). */
const CODE_LIFETIME = 600;

/**
 * The code that a person gets at that address. SETTINGS where there is no terminal to ask on, CANCELED where they enter
 * nothing.
 */
export async function authFlow(url: string | URL): Promise<string> {
  requireTerminal(String(url));
  invite({ url: String(url) });
  const code = (await ask('Code:')).trim();
  if (code === '') throw new SregistryError('CANCELED', 'No code was entered');
  registerSecret(code, CODE_LIFETIME);
  return code;
}

/**
 * Tokens by a redirect to this machine, with PKCE (RFC 7636). For services with an authorization endpoint that accept
 * `http://127.0.0.1:<any port>/`. TIMED_OUT after ten minutes, FORBIDDEN where the person refuses.
 */
export async function authFlowLoopback(service: OAuthService, options: FlowOptions = {}): Promise<Tokens> {
  const { show = inviteByTerminal, signal } = options;
  await using oauth = await createOAuth(service, options);
  await using loopback = await listenOnLoopback();
  const { url, state, redeem } = await oauth.authorize(loopback.redirectUri);
  show({ url: url.href });
  return await redeem(await loopback.answer(state, patience(signal)));
}

/** Tokens by a code that the person enters on whatever device (RFC 8628); for services with such an endpoint. */
export async function authFlowDevice(service: OAuthService, options: FlowOptions = {}): Promise<Tokens> {
  const { show = inviteByTerminal } = options;
  await using oauth = await createOAuth(service, options);
  const { url, code, completeUrl, wait } = await oauth.authorizeDevice();
  show({ url: completeUrl ?? url, code });
  return await wait();
}

function inviteByTerminal(invitation: Invitation): void {
  requireTerminal(invitation.url);
  invite(invitation);
}

function requireTerminal(url: string): void {
  if (isInteractive()) return;
  throw new SregistryError(
    'SETTINGS',
    `Someone has to allow access at ${url}, and there is no terminal to ask on`,
    {
      hint: 'Do it once in a terminal; what it gives is kept, or can be set with: sregistry backend add NAME VARIABLE VALUE',
    },
  );
}

function invite({ url, code }: Invitation): void {
  const entering = code === undefined ? '' : `, and enter the code ${code}`;
  // Not even a quiet bot keeps it to itself: nothing would go on.
  bot.log(`Open this address in a browser, allow access${entering}:\n${url}`);
}

function patience(signal: AbortSignal | undefined): AbortSignal {
  const limit = AbortSignal.timeout(PATIENCE);
  return signal === undefined ? limit : AbortSignal.any([limit, signal]);
}
