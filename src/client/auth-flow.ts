/**
 * The logins of ../backends/oauth-login.ts on the terminal of this process, for scripts and the shell. Without a terminal, they
 * throw instead of asking.
 */
import type { Invitation } from '../backends/backend.ts';
import type { OAuthOptions, OAuthService, Tokens } from '../backends/oauth.ts';
import { loginByCode, loginByDevice, loginByRedirect } from '../backends/oauth-login.ts';
import { terminal } from './terminal.ts';

export type { Invitation, OAuthService, Tokens };

export interface FlowOptions extends OAuthOptions {
  /** Shows the invitation. Default: prints it. */
  readonly show?: ((invitation: Invitation) => void) | undefined;
}

/**
 * Asks for the code that a person gets at that address. Throws SETTINGS if there is no terminal to ask on, CANCELED if they
 * enter nothing.
 */
export function authFlow(url: string | URL): Promise<string> {
  return loginByCode(url, terminal);
}

/** Tokens by a redirect to this machine, as `loginByRedirect` gets them. */
export function authFlowLoopback(service: OAuthService, options: FlowOptions = {}): Promise<Tokens> {
  const { show = terminal.show } = options;
  return loginByRedirect(service, { show }, options);
}

/** Tokens by a code that a person enters on any device, as `loginByDevice` gets them. */
export function authFlowDevice(service: OAuthService, options: FlowOptions = {}): Promise<Tokens> {
  const { show = terminal.show } = options;
  return loginByDevice(service, { show }, options);
}
