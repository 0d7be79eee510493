/**
 * nginx with its WebDAV modules as a child of the test process: on a free port of the loopback, its files in a temporary folder,
 * every request asked for {@link WEBDAV_LOGIN}. It ends with the process that started it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';

export interface TestWebdav {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** The folder whose files it serves. */
  readonly folder: string;
  /** Ends the server and deletes its files. */
  stop(): Promise<void>;
}

export const WEBDAV_LOGIN = { username: 'tester', password: 'tester-secret' } as const;

/** Milliseconds; a start takes about fifty. */
const START_LIMIT = 20_000;

/** The programs of administrators are not on everyone's path. */
const NGINX = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  .map((folder) => join(folder, 'nginx'))
  .find((path) => existsSync(path));
const MODULE = join(NGINX ?? '', '../../lib/nginx/modules/ngx_http_dav_ext_module.so');

/** Why no WebDAV server can be started here, or undefined where one can. */
export function webdavUnavailable(): string | undefined {
  return NGINX !== undefined && existsSync(MODULE)
    ? undefined
    : 'nginx with its WebDAV modules is not installed (scripts/setup --test)';
}

/** Why there is no rclone here, or undefined where there is. */
export function rcloneUnavailable(): string | undefined {
  const { error } = spawnSync('rclone', ['version']);
  return error ? 'rclone is not installed (scripts/setup --test)' : undefined;
}

/** Starts a server; it answers when this resolves. */
export async function startWebdav(): Promise<TestWebdav> {
  const root = mkdtempSync(join(tmpdir(), 'sregistry-webdav-'));
  const folder = join(root, 'files');
  mkdirSync(folder);
  writeFileSync(join(root, 'htpasswd'), `${WEBDAV_LOGIN.username}:{PLAIN}${WEBDAV_LOGIN.password}\n`);
  // Between finding a free port and listening on it somebody else may take it.
  const { port, child } = await pRetry(
    async () => {
      const free = await freePort();
      return { port: free, child: await launch(root, folder, free) };
    },
    { retries: 4, minTimeout: 0 },
  );
  return {
    url: `http://127.0.0.1:${port}`,
    folder,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const closed = once(child, 'close');
        child.kill('SIGTERM');
        await closed;
      }
      rmSync(root, { recursive: true, force: true });
    },
  };
}

async function launch(root: string, folder: string, port: number) {
  const config = join(root, 'nginx.conf');
  const log = join(root, 'error.log');
  writeFileSync(config, configuration(root, folder, port));
  // setpriv: also when the test process is killed, the kernel ends its server.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', NGINX as string, '-c', config, '-e', log], {
    stdio: 'ignore',
  });
  const limit = Date.now() + START_LIMIT;
  while (Date.now() < limit && child.exitCode === null) {
    const answers = await fetch(`http://127.0.0.1:${port}/`).then(
      ({ status }) => status === 401,
      () => false,
    );
    if (answers && child.exitCode === null) return child;
    await sleep(20);
  }
  child.kill('SIGKILL');
  throw new Error(`nginx did not start: ${existsSync(log) ? readFileSync(log, 'utf8') : 'no log'}`);
}

/** One process (`master_process off`), which ends with the one that started it. */
function configuration(root: string, folder: string, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(root, name)};`)
    .join('\n');
  return `
load_module ${MODULE};
${process.getuid?.() === 0 ? `user ${userInfo().username};` : ''}
daemon off; master_process off; pid ${join(root, 'pid')};
events { worker_connections 512; }
http {
  default_type application/octet-stream;
  access_log off; client_max_body_size 0;
  ${temporary}
  server {
    listen 127.0.0.1:${port};
    root ${folder};
    auth_basic tests; auth_basic_user_file ${join(root, 'htpasswd')};
    location / {
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS;
    }
  }
}
`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port');
  return address.port;
}
