/** Sessions in a home that nobody else uses. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Session, type SessionOptions } from '../../src/client/session.ts';

export const fixture = (name: string) => join(import.meta.dirname, '../fixtures/images', name);

export class TemporaryHome implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'sregistry-client-'));
  readonly env: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    HOME: this.folder,
    XDG_RUNTIME_DIR: this.folder,
    SREGISTRY_TIMEOUT: '5',
  };

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Writes the secrets file. */
  configure(secrets: object): void {
    writeFileSync(this.path('.sregistry'), JSON.stringify(secrets), { mode: 0o600 });
  }

  /** A directory as a registry, for the secrets file. */
  shelf(name: string): object {
    mkdirSync(this.path(name), { recursive: true });
    return { driver: 'dir', base: this.path(name) };
  }

  open(options: SessionOptions = {}): Promise<Session> {
    return Session.open({ ...options, env: this.env });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
