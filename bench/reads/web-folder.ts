/**
 * An nginx that shows one file as `image.sif` in a web folder, on a free port of the loopback, for clients that do not speak the
 * protocol of a registry.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface WebFolder {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startWebFolder(folder: string, file: string): Promise<WebFolder> {
  const prefix = join(folder, 'nginx');
  mkdirSync(prefix, { recursive: true });
  const port = await freePort();
  linkSync(file, join(prefix, 'image.sif'));
  writeFileSync(join(prefix, 'index.html'), '<a href="image.sif">image.sif</a>');
  writeFileSync(
    join(prefix, 'nginx.conf'),
    `daemon off; pid ${prefix}/pid; error_log ${prefix}/error.log; worker_processes 1; user root;
events {}
http {
  access_log off; sendfile on;
  client_body_temp_path ${prefix}; proxy_temp_path ${prefix}; fastcgi_temp_path ${prefix};
  uwsgi_temp_path ${prefix}; scgi_temp_path ${prefix};
  server {
    listen 127.0.0.1:${port};
    location / { root ${prefix}; index index.html; }
  }
}
`,
  );
  const child = spawn('nginx', ['-p', prefix, '-c', join(prefix, 'nginx.conf')], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries += 1) {
    if (
      await fetch(url).then(
        (answer) => answer.ok,
        () => false,
      )
    )
      break;
    if (tries > 100) throw new Error('nginx did not start');
    await sleep(50);
  }
  return {
    url,
    stop: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
