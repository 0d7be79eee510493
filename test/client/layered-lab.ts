/** A registry with containers in layers, and sessions that read from it. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { isLayered, type OpenLayered } from '../../src/client/layered-images.ts';
import { Session, type SessionOptions } from '../../src/client/session.ts';
import { findImage, parseTarget } from '../../src/client/target.ts';
import type { ByteSource } from '../../src/image/source.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { environment, temporaryFolder } from '../fs/support.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { type FaultProxy, startFaultProxy } from '../servers/fault-proxy.ts';
import { type Layer, pushLayered } from '../servers/layered.ts';

export class LayeredLab {
  readonly home: string;
  /** Where its blobs are. */
  readonly storage: string;
  readonly registry: TestRegistry;
  /** In front of the registry: the backend `lab` asks it. */
  readonly proxy: FaultProxy;

  private constructor(home: string, storage: string, registry: TestRegistry, proxy: FaultProxy) {
    this.home = home;
    this.storage = storage;
    this.registry = registry;
    this.proxy = proxy;
  }

  static async start(): Promise<LayeredLab> {
    const [home, storage] = [await temporaryFolder(), await temporaryFolder()];
    const registry = await startRegistry({ dir: storage });
    onTestFinished(() => registry.remove());
    const proxy = await startFaultProxy(registry.url);
    onTestFinished(() => proxy.close());
    const lab = new LayeredLab(home, storage, registry, proxy);
    await lab.configure({});
    return lab;
  }

  /** Sets options of the backend `lab`, and further backends. */
  configure(options: object, others: Readonly<Record<string, object>> = {}): Promise<void> {
    const secrets = {
      lab: { driver: 'oci', base: this.proxy.url, ...options },
      direct: { driver: 'oci', base: this.registry.url },
      ...others,
    };
    return writeFile(join(this.home, '.sregistry'), JSON.stringify(secrets), { mode: 0o600 });
  }

  async session(options: SessionOptions = {}): Promise<Session> {
    const { env, ...rest } = options;
    const session = await Session.open({ env: { ...environment(this.home), ...env }, ...rest });
    onTestFinished(() => session.close());
    return session;
  }

  push(tag: string, layers: readonly Layer[], config = {}) {
    return pushLayered(this.registry.url, 'demo/app', tag, layers, config);
  }

  /** Opens an image in layers. Fails with the reason why it cannot be shown, if it cannot. */
  async open(session: Session, uri: string, signal?: AbortSignal): Promise<OpenLayered> {
    const target = await parseTarget(uri, session);
    const image = session.layered.sized(await findImage(session, target));
    if (!isLayered(image)) throw new Error(`${uri} is not in layers: ${image.unpresentable}`);
    const current = session.current(target.backend, image);
    return session.layered.open(target.backend, image, current, { signal });
  }
}

/** The text of a file in an image; undefined if it has none of that name. */
export async function fileIn(source: ByteSource, path: string): Promise<string | undefined> {
  const bytes = await (await SquashFs.open(source)).readFile(path, 1e8);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString();
}
