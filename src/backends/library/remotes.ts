/**
 * Finds the token that `apptainer remote login` or `singularity remote login` stored for a library. Their `remote.yaml` holds remotes
 * such as `cloud.example.org`, each with a token. Which library a remote has, its `assets/config/config.prod.json` says. So a token
 * goes to a library only if the token's own remote names that library.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { describeError, systemCode } from '../../base/errors.ts';
import { debugLog, registerSecret } from '../../log/index.ts';
import { isJsonObject } from '../../settings/json.ts';
import { createHttpClient } from '../http.ts';

const debug = debugLog('library');

interface Remote {
  /** Host, and a path if it has one. */
  readonly uri: string;
  readonly token: string;
  /** May it be spoken to over plain http? */
  readonly insecure: boolean;
}

/** Milliseconds to wait for a remote. */
const TIMEOUT = 10_000;

/** The token for the library at `base`; undefined if no remote with a token has that library. */
export async function remoteToken(base: URL, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const remotes = (await Promise.all(filesOf(env).map(readRemotes))).flat();
  if (remotes.length === 0) return undefined;
  const http = createHttpClient({ env, timeout: TIMEOUT });
  try {
    for (const remote of remotes) {
      if ((await libraryOf(remote)) !== base.origin) continue;
      registerSecret(remote.token);
      return remote.token;
    }
    return undefined;
  } finally {
    await http.close();
  }

  /** The origin of a remote's library. */
  async function libraryOf({ uri, insecure }: Remote): Promise<string | undefined> {
    const remote = new URL(`${insecure ? 'http' : 'https'}://${uri}`);
    if (remote.origin === base.origin) return base.origin;
    try {
      const reply = await http.get(`${remote.href.replace(/\/$/, '')}/assets/config/config.prod.json`);
      const config = reply.json();
      const library = isJsonObject(config) ? config.libraryAPI : undefined;
      return isJsonObject(library) ? URL.parse(String(library.uri))?.origin : undefined;
    } catch (error) {
      debug('the remote %s does not tell its library: %s', uri, describeError(error));
      return undefined;
    }
  }
}

/** Apptainer's file and Singularity's, in the folders that they use. */
function filesOf({ APPTAINER_CONFIGDIR: folder, HOME: home = homedir() }: NodeJS.ProcessEnv): string[] {
  return [folder || join(home, '.apptainer'), join(home, '.singularity')].map((one) =>
    join(one, 'remote.yaml'),
  );
}

async function readRemotes(file: string): Promise<Remote[]> {
  try {
    return parseRemotes(await readFile(file, 'utf8'));
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') debug('cannot read %s: %s', file, describeError(error));
    return [];
  }
}

/**
 * The remotes with a token, the active one first. This reads only the block style that Apptainer writes (`internal/pkg/remote`,
 * `Config`): one `Key: value` a line, no nesting below a remote's entries. A file in any other style has no tokens for us.
 */
export function parseRemotes(text: string): Remote[] {
  const remotes = new Map<string, Record<string, string>>();
  let active: string | undefined;
  let entry: Record<string, string> = {};
  for (const line of text.split(/\r?\n/)) {
    const [, indent = '', key = '', value = ''] = /^( *)("[^"]*"|[^\s"':][^:]*): *(.*)$/.exec(line) ?? [];
    if (indent === '' && key === 'Active') active = unquoted(value);
    if (/^ {2}( {2})?$/.test(indent) && value === '') {
      entry = {};
      remotes.set(unquoted(key), entry);
    } else if (indent.length > 2) {
      entry[key] = unquoted(value);
    }
  }
  return [...remotes]
    .sort(([one], [other]) => Number(other === active) - Number(one === active))
    .flatMap(([, { URI: uri = '', Token: token = '', Insecure }]) =>
      token !== '' && URL.canParse(`https://${uri}`) ? [{ uri, token, insecure: Insecure === 'true' }] : [],
    );
}

const unquoted = (text: string) => /^(["'])(.*)\1$/.exec(text.trim())?.[2] ?? text.trim();
