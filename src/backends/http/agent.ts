/**
 * Connections: one pool per origin, proxies from the environment, certificates of Node and of the system.
 */
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { buildConnector, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import { WarmSockets } from './warm-sockets.ts';

/** Milliseconds for a connection: name resolution, TCP and TLS. */
const CONNECT_TIMEOUT = 10_000;
/** Connections per origin. Far more than transfers need, as a paused reader keeps its connection. */
const CONNECTIONS = 128;
/** Milliseconds to keep an idle connection. Many servers close it after 5 s; closing earlier avoids a race with them. */
const KEEP_ALIVE = 4_000;

export interface AgentSettings {
  readonly env: NodeJS.ProcessEnv;
  /** Check certificates. */
  readonly verify: boolean;
}

export interface Agent {
  readonly dispatcher: Dispatcher;
  /** Makes connections to this origin before requests need them; through a proxy it makes none. */
  warm(url: URL, connections: number): void;
  /** Ends all connections. */
  close(): Promise<void>;
}

export function createAgent({ env, verify }: AgentSettings): Agent {
  const setting = (name: string) => env[name.toLowerCase()] ?? env[name] ?? '';
  const httpProxy = setting('HTTP_PROXY');
  const httpsProxy = setting('HTTPS_PROXY');
  const sockets = new WarmSockets(createConnector(verify));
  const dispatcher = new EnvHttpProxyAgent({
    httpProxy,
    httpsProxy,
    // A proxy cannot reach this machine's loopback. Go's clients (Apptainer) bypass the proxy for it, too.
    noProxy: [setting('NO_PROXY'), 'localhost', '127.0.0.1', '::1'].filter(Boolean).join(','),
    connections: CONNECTIONS,
    keepAliveTimeout: KEEP_ALIVE,
    // Over one HTTP/2 connection, the readers of several large bodies share flow control and wait for each other.
    allowH2: false,
    connect: sockets.connector,
    ...(httpProxy || httpsProxy ? { requestTls: tlsOptions(verify) } : {}),
  });
  return {
    dispatcher,
    warm: (url, connections) => {
      if (!httpProxy && !httpsProxy) sockets.open(url, connections);
    },
    close: async () => {
      sockets.close();
      await dispatcher.destroy();
    },
  };
}

/** Loads the certificates for the first https connection only, as that takes tens of milliseconds. */
function createConnector(verify: boolean): buildConnector.connector {
  const plain = buildConnector({ timeout: CONNECT_TIMEOUT, allowH2: false });
  let secure: buildConnector.connector | undefined;
  return (options, callback) => {
    if (options.protocol !== 'https:') return plain(options, callback);
    secure ??= buildConnector({ timeout: CONNECT_TIMEOUT, allowH2: false, ...tlsOptions(verify) });
    return secure(options, callback);
  };
}

function tlsOptions(verify: boolean) {
  return { rejectUnauthorized: verify, secureContext: trustedContext() };
}

let context: SecureContext | undefined;

/** Node's own root certificates and those of this machine, which include a site's private CA. */
function trustedContext(): SecureContext {
  context ??= createSecureContext({
    ca: [...new Set([...getCACertificates('default'), ...getCACertificates('system')].map(normalizePem))],
  });
  return context;
}

/** One form for equal certificates: the two stores wrap their lines differently. */
function normalizePem(pem: string): string {
  const base64 = pem.replace(/-----[^-]+-----|\s/g, '');
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
}
