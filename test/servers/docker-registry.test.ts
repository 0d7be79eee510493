import { createHash } from 'node:crypto';
import { afterEach, expect, test, vi } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { REGISTRY_LOGIN, type RegistryOptions, startRegistry, type TestRegistry } from './docker-registry.ts';

needs({ registry: true })('the registry for tests', () => {
  let registry: TestRegistry;
  const start = async (options?: RegistryOptions) => {
    registry = await startRegistry(options);
  };
  afterEach(() => registry.remove());

  test('answers as soon as it has started, and records each request', async () => {
    await start();
    const response = await fetch(`${registry.url}/v2/`);
    expect(response.status).toBe(200);
    const { length } = await response.text();
    await vi.waitFor(() =>
      expect(registry.log()).toEqual([{ method: 'GET', path: '/v2/', status: 200, bytes: length }]),
    );
  });

  test('lets in only who logs in when it asks for a login', async () => {
    await start({ auth: 'basic' });
    const login = Buffer.from(`${REGISTRY_LOGIN.username}:${REGISTRY_LOGIN.password}`).toString('base64');
    const anonymous = await fetch(`${registry.url}/v2/`);
    const known = await fetch(`${registry.url}/v2/`, { headers: { authorization: `Basic ${login}` } });
    expect([anonymous.status, known.status]).toEqual([401, 200]);
  });

  test('keeps its port and its blobs over a restart, and answers nothing in between', async () => {
    await start();
    const blob = Buffer.from('kept');
    const digest = `sha256:${createHash('sha256').update(blob).digest('hex')}`;
    const upload = await fetch(`${registry.url}/v2/a/b/blobs/uploads/`, { method: 'POST' });
    const location = new URL(upload.headers.get('location') ?? '', registry.url);
    location.searchParams.set('digest', digest);
    await fetch(location, {
      method: 'PUT',
      body: blob,
      headers: { 'content-type': 'application/octet-stream' },
    });

    await registry.stop();
    await expect(fetch(registry.url)).rejects.toThrow();
    await registry.restart();
    const response = await fetch(`${registry.url}/v2/a/b/blobs/${digest}`, {
      headers: { range: 'bytes=1-2' },
    });
    expect([response.status, await response.text()]).toEqual([206, 'ep']);
  });
});
