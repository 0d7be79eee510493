import { randomBytes } from 'node:crypto';
import { renameSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from 'vitest';
import type { Backend, LoginUi, RemoteImage } from '../../src/backends/backend.ts';
import driver from '../../src/backends/globus/index.ts';
import type { ImageName } from '../../src/image/name.ts';
import { parseImageName } from '../../src/image/names.ts';
import { bot } from '../../src/log/index.ts';
import { resolveOptions } from '../../src/settings/resolve.ts';
import { TRANSFER, TRANSFER_SCOPE } from '../servers/globus/auth.ts';
import type { Collection } from '../servers/globus/collections.ts';
import { Refusal } from '../servers/globus/refusal.ts';
import { type FakeGlobus, type FakeGlobusOptions, startFakeGlobus } from '../servers/globus.ts';

const closing: (() => Promise<unknown> | undefined)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(options?: FakeGlobusOptions): Promise<FakeGlobus> {
  const fake = await startFakeGlobus(options);
  closing.push(fake.close);
  return fake;
}

interface Settings {
  readonly login?: unknown;
  readonly endpoint?: string;
  readonly path?: string;
  readonly localEndpoint?: string;
  readonly localFolder?: string;
}

const envOf = (fake: FakeGlobus) => ({
  HOME: fake.folder,
  SREGISTRY_CREDENTIALS_CACHE: fake.folder,
  GLOBUS_SDK_SERVICE_URL_TRANSFER: fake.url,
  GLOBUS_SDK_SERVICE_URL_AUTH: fake.url,
});

/** The options as the secrets file would give them. */
function optionsOf(fake: FakeGlobus, { login, ...settings }: Settings, key = 'login') {
  const secrets = { globus: { ...settings, ...(login !== undefined && { [key]: login }) } };
  const request = { instance: 'globus', driver: 'globus', schema: driver.options, env: envOf(fake), secrets };
  return resolveOptions(request).values;
}

function connect(fake: FakeGlobus, settings: Settings, key?: string): Backend {
  const backend = driver.create({
    name: 'globus',
    options: optionsOf(fake, settings, key),
    env: envOf(fake),
  });
  closing.push(async () => backend.close?.());
  return backend;
}

const consentTo = ({ scopes, needsDataAccess, https }: Collection) =>
  `${TRANSFER_SCOPE}${needsDataAccess ? `[*${scopes.dataAccess}]` : ''}${https ? ` ${scopes.https}` : ''}`;

/** Puts a file into a collection as another program does. */
async function put(collection: Collection, path: string, bytes: Buffer | string): Promise<string> {
  const file = collection.onDisk(path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, bytes);
  return file;
}

const named = (text: string) =>
  parseImageName(text, { lowercase: false, first: 'host', defaults: true, defaultCollection: '' });

async function found(backend: Backend, name: ImageName): Promise<RemoteImage> {
  const image = await backend.resolve(name);
  if (image === undefined) throw new Error('absent');
  return image;
}

async function bytesOf(backend: Backend, text: string): Promise<string> {
  const image = await backend.resolve(named(text));
  if (image === undefined) return 'absent';
  return String(await buffer(await backend.read(image, 0, image.size)));
}

describe('names', () => {
  test('mean a path in a collection, as those of the Python client', async () => {
    const fake = await start();
    const one = await fake.add({ kind: 'mapped' });
    const backend = connect(fake, { login: fake.auth.login(consentTo(one)) });
    await put(one, '.singularity/shub/vep.simg', 'in the folder of the Python client');
    await put(one, 'top.sif', 'in the default folder');
    await put(one, '/data/.hidden/x:1.sif', 'from the root');
    expect(await bytesOf(backend, `${one.id}:.singularity/shub/vep.simg`)).toMatch(/Python/);
    expect(await bytesOf(backend, `${one.id}/vep`)).toMatch(/Python/);
    expect(await bytesOf(backend, `${one.id}:top.sif`)).toMatch(/default/);
    expect(await bytesOf(backend, `${one.id}:/data/.hidden/x:1.sif`)).toMatch(/root/);
    expect(await bytesOf(backend, `${one.id}:/data/x:1.sif`)).toBe('absent');
    await expect(bytesOf(backend, 'vep')).rejects.toMatchObject({ code: 'INVALID_NAME', hint: /endpoint/ });
    await expect(bytesOf(backend, `${one.id}:../x/y`)).rejects.toMatchObject({ code: 'INVALID_NAME' });
  });

  test('without an endpoint, the top lists those of the user, and a search shows all', async () => {
    const fake = await start();
    const mine = await fake.add({ kind: 'guest', name: 'mine' });
    const lent = await fake.add({ kind: 'guest', name: 'lent', scope: 'shared-with-me' });
    const other = await fake.add({ kind: 'guest', name: 'genome of others', scope: 'all' });
    const backend = connect(fake, { login: fake.auth.login(`${TRANSFER_SCOPE} ${mine.scopes.https}`) });
    const top = await Array.fromAsync(backend.list(''));
    expect(top.map(({ name }) => name)).toEqual([mine.id, lent.id]);
    expect(await Array.fromAsync(backend.list(mine.id))).toEqual([]);
    await put(mine, '.singularity/shub/a/vep:1.sif', 'x');
    await put(mine, '.singularity/shub/a/other.sif', 'x');

    const said: unknown[] = [];
    const { info } = bot;
    Object.assign(bot, { info: (message: unknown) => said.push(message) });
    try {
      expect(await Array.fromAsync(backend.search?.({ query: 'genome' }) ?? [])).toEqual([]);
    } finally {
      Object.assign(bot, { info });
    }
    expect(said.join('\n')).toContain(`${other.id} [all] genome of others`);
    const search = async (query: string) =>
      (await Array.fromAsync(backend.search?.({ query }) ?? [])).map(({ name }) => name);
    expect(await search(`${mine.id} vep`)).toMatchObject([
      { collection: `${mine.id}/a`, image: 'vep', tag: '1' },
    ]);
    expect(await search(`${mine.id}:.singularity/shub`)).toHaveLength(2);
  });
});

describe('logins', () => {
  const person = (answers: string[]) => {
    const scopes: string[] = [];
    let page = '';
    const ui: LoginUi = {
      isInteractive: true,
      show: ({ url }) => {
        page = url;
        scopes.push(new URL(url).searchParams.get('scope') ?? '');
      },
      ask: async (question) => {
        if (question !== 'Code:') return answers.shift() ?? '';
        const shown = await fetch(page);
        expect(new URL(shown.url).pathname).toBe('/v2/web/auth-code');
        return /<code>(.*)<\/code>/.exec(await shown.text())?.[1] ?? '';
      },
    };
    return { ui, scopes };
  };
  const logIn = async (fake: FakeGlobus, settings: Settings, ui: LoginUi, key?: string) => {
    const options = optionsOf(fake, settings, key);
    return (await driver.login?.({ name: 'globus', options, env: envOf(fake) }, ui))?.login as string;
  };

  test('ask for what the collections require, and give one token for each service', async () => {
    const fake = await start();
    const mapped = await fake.add({ kind: 'mapped' });
    const guest = await fake.add({ kind: 'guest' });
    const assured = await fake.add({ kind: 'mapped', isHighAssurance: true });
    await fake.add({ kind: 'personal', folder: join(fake.folder, 'pc') });
    const { ui, scopes } = person([`${guest.id} ${assured.id}`]);
    const login = await logIn(fake, { endpoint: mapped.id }, ui);
    expect(scopes).toEqual([
      TRANSFER_SCOPE,
      `${TRANSFER_SCOPE}[*${mapped.scopes.dataAccess}] ${mapped.scopes.https} ${guest.scopes.https} ${assured.scopes.https}`,
    ]);
    expect(Object.keys(JSON.parse(login)).sort()).toEqual([TRANSFER, mapped.id, guest.id, assured.id].sort());
    await put(mapped, '.singularity/shub/x.sif', 'of the mapped one');
    await put(guest, 'x/y:1.sif', 'of the guest one');
    const backend = connect(fake, { login, endpoint: mapped.id });
    await backend.check?.();
    expect(await bytesOf(backend, 'x')).toBe('of the mapped one');
    expect(await bytesOf(backend, `${guest.id}:x/y:1`)).toBe('of the guest one');
  });

  test('make the one collection that is named the default, if there is none', async () => {
    const fake = await start();
    const [mine, other] = [await fake.add({ kind: 'guest' }), await fake.add({ kind: 'guest' })];
    const changesFor = async (settings: Settings, answer: string) =>
      driver.login?.(
        { name: 'globus', options: optionsOf(fake, settings), env: envOf(fake) },
        person([answer]).ui,
      );
    expect(await changesFor({}, mine.id)).toMatchObject({ endpoint: mine.id });
    expect(await changesFor({}, `${mine.id} ${other.id}`)).not.toHaveProperty('endpoint');
    expect(await changesFor({ endpoint: other.id }, mine.id)).not.toHaveProperty('endpoint');
  });

  test('of the Python client are used, and one code is enough to add a collection to them', async () => {
    const fake = await start();
    const guest = await fake.add({ kind: 'guest' });
    const refresh_token = fake.auth.login(TRANSFER_SCOPE)[TRANSFER];
    // What its secrets file holds: the answer for one resource server, as an object.
    const login = {
      access_token: 'old',
      refresh_token,
      expires_at_seconds: 1,
      resource_server: TRANSFER,
      scope: TRANSFER_SCOPE,
    };
    const backend = connect(fake, { login, endpoint: guest.id }, 'GLOBUS_TRANSFER_RESPONSE');
    await put(guest, '.singularity/shub/x.sif', 'x');
    expect(await Array.fromAsync(backend.list(''))).toMatchObject([{ name: { image: 'x' } }]);
    await expect(bytesOf(backend, 'x')).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: expect.stringContaining(`auth login globus\`, and name the collection ${guest.id}`),
    });
    const { ui, scopes } = person([]);
    const more = await logIn(fake, { login, endpoint: guest.id }, ui, 'GLOBUS_TRANSFER_RESPONSE');
    expect(scopes).toEqual([`${TRANSFER_SCOPE} ${guest.scopes.https}`]);
    expect(await bytesOf(connect(fake, { login: more, endpoint: guest.id }), 'x')).toBe('x');
  });

  test('that lack a consent say which, and how to give it', async () => {
    const fake = await start();
    const mapped = await fake.add({ kind: 'mapped' });
    const backend = connect(fake, { login: fake.auth.login(TRANSFER_SCOPE), endpoint: mapped.id });
    const refused = backend.check?.();
    await expect(refused).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: /sregistry auth login globus/,
    });
    await expect(refused).rejects.toThrow(`all[*${mapped.scopes.dataAccess}]`);
  });

  test('end with a logout, for every service', async () => {
    const fake = await start();
    const mapped = await fake.add({ kind: 'mapped' });
    const login = fake.auth.login(consentTo(mapped));
    expect(fake.auth.refreshTokens).toHaveLength(2);
    await driver.logout?.({ name: 'globus', options: optionsOf(fake, { login }), env: envOf(fake) });
    expect(fake.auth.refreshTokens).toEqual([]);
    const backend = connect(fake, { login, endpoint: mapped.id });
    await expect(backend.check?.()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test('are not needed for what everybody may read, and tokens go to their own service only', async () => {
    const fake = await start();
    const open = await fake.add({ kind: 'guest', isPublic: true });
    await put(open, '.singularity/shub/x.sif', 'for everybody');
    const backend = connect(fake, { login: fake.auth.login(TRANSFER_SCOPE), endpoint: open.id });
    expect(await bytesOf(backend, 'x')).toBe('for everybody');
    const sent = fake.requests.filter(({ url }) => url.startsWith('/files/'));
    expect(sent.length).toBeGreaterThan(1);
    for (const { headers } of sent) expect(headers.authorization).toBeUndefined();
  });
});

test('an address of a collection that is not https is refused, and so is an endpoint that is not an id', async () => {
  const fake = await start();
  const one = await fake.add({ kind: 'guest' });
  const login = fake.auth.login(consentTo(one));
  for (const address of ['http://files.example.org', 'file:///etc', 'nonsense']) {
    one.address = address;
    const backend = connect(fake, { login, endpoint: one.id });
    await expect(bytesOf(backend, 'x')).rejects.toMatchObject({ code: 'SERVICE', message: /refusing/ });
  }
  expect(() => connect(fake, { login, endpoint: '../submission_id' })).toThrow(/not the id/);
});

describe.each(['refuses', 'does'])('where a collection %s to rename over a file', (what) => {
  test('a push replaces an image, and --no-overwrite does not', async () => {
    const fake = await start({ renameReplaces: what === 'does' });
    const one = await fake.add({ kind: 'mapped' });
    const backend = connect(fake, { login: fake.auth.login(consentTo(one)), endpoint: one.id });
    const [path, other] = [join(fake.folder, 'one.sif'), join(fake.folder, 'two.sif')];
    const image = randomBytes(50_000);
    await writeFile(path, image);
    await writeFile(other, Buffer.concat([image, Buffer.alloc(4096)]));
    const push = (file: string, size: number, ifAbsent = false) =>
      backend.push?.({ path: file, size }, named('a/x:1'), { ifAbsent, annotations: { maintainer: 'me' } });
    await push(path, image.length);
    const replaced = await push(other, image.length + 4096);
    expect(await backend.resolve(named('a/x:1'))).toMatchObject({
      size: image.length + 4096,
      revision: replaced?.revision,
      annotations: { maintainer: 'me' },
    });
    await expect(push(path, image.length, true)).rejects.toMatchObject({ code: 'EXISTS' });
    expect((await readdir(one.onDisk('.singularity/shub/a'))).sort()).toEqual(['x:1.sif', 'x:1.sif.json']);
  });
});

describe('an image that a push cannot replace', () => {
  const setUp = async (breaks: (renames: number) => 'refused' | 'lost' | undefined) => {
    let renames = 0;
    const fake = await start({
      before: (_method, url, body) => {
        if (!url.pathname.endsWith('/rename') || !String(body.new_path).endsWith('x:1.sif')) return;
        const how = breaks(++renames);
        if (how === undefined) return;
        // It is carried out, but nobody is told.
        if (how === 'lost') renameSync(one.onDisk(String(body.old_path)), one.onDisk(String(body.new_path)));
        throw new Refusal(502, 'ExternalError', 'The endpoint broke');
      },
    });
    const one = await fake.add({ kind: 'mapped' });
    const backend = connect(fake, { login: fake.auth.login(consentTo(one)), endpoint: one.id });
    const path = join(fake.folder, 'one.sif');
    await put(one, '.singularity/shub/a/x:1.sif', 'the old one');
    await writeFile(path, 'the new one!');
    const pushed = backend.push?.({ path, size: 12 }, named('a/x:1'));
    const files = async () =>
      Promise.all(
        (await readdir(one.onDisk('.singularity/shub/a'))).map(async (name) => [
          name,
          String(await readFile(one.onDisk(`.singularity/shub/a/${name}`))),
        ]),
      );
    return { pushed, files, renames: () => renames };
  };

  test('stays as it was', async () => {
    const { pushed, files, renames } = await setUp((count) => (count === 2 ? 'refused' : undefined));
    await expect(pushed).rejects.toMatchObject({ message: expect.stringContaining('endpoint broke') });
    expect(await files()).toEqual([['x:1.sif', 'the old one']]);
    expect(renames()).toBe(3);
  });

  test('is replaced if only the answer was lost', async () => {
    const { pushed, files } = await setUp((count) => (count === 2 ? 'lost' : undefined));
    await expect(pushed).rejects.toMatchObject({ message: expect.stringContaining('endpoint broke') });
    expect(await files()).toEqual([['x:1.sif', 'the new one!']]);
  });

  test('is named if it could not be brought back', async () => {
    const { pushed, files } = await setUp((count) => (count >= 2 ? 'refused' : undefined));
    const [[name, text] = []] =
      (await pushed?.then(
        () => [],
        async (error) => {
          const left = await files();
          expect(error).toMatchObject({ message: expect.stringContaining(String(left[0]?.[0])) });
          return left;
        },
      )) ?? [];
    expect([name, text]).toEqual([expect.stringMatching(/^\.sregistry-/), 'the old one']);
  });
});

test('a collection that states no entity tag and no time is compared by what Transfer tells', async () => {
  const fake = await start({ validator: 'none' });
  const one = await fake.add({ kind: 'mapped' });
  const backend = connect(fake, { login: fake.auth.login(consentTo(one)), endpoint: one.id });
  const file = await put(one, '.singularity/shub/x.sif', 'first');
  const image = await found(backend, named('x'));
  expect(String(await buffer(await backend.read(image, 1, 3)))).toBe('irs');
  await writeFile(file, 'other');
  await utimes(file, 1000, 1000);
  await expect(backend.read(image, 0, 5)).rejects.toMatchObject({ code: 'STALE' });
  await expect(backend.remove?.(image)).rejects.toMatchObject({ code: 'STALE' });

  const again = await found(backend, named('x'));
  const stream = await backend.read(again, 0, 5);
  await writeFile(file, 'third');
  await utimes(file, 2000, 2000);
  await expect(buffer(stream)).rejects.toMatchObject({ code: 'STALE' });
});

describe('a collection without HTTPS', () => {
  const setUp = async (options?: FakeGlobusOptions) => {
    const fake = await start(options);
    const far = await fake.add({ kind: 'mapped', https: false });
    const near = await fake.add({ kind: 'personal', folder: join(fake.folder, 'pc') });
    // As Globus Connect Personal describes itself.
    const lta = join(fake.folder, '.globusonline', 'lta');
    await mkdir(lta, { recursive: true });
    await writeFile(join(lta, 'client-id.txt'), `${near.id}\n`);
    await writeFile(join(lta, 'config-paths'), `/nowhere/at/all,0,1\n${near.options.folder},0,1\n`);
    const backend = connect(fake, { login: fake.auth.login(consentTo(far)), endpoint: far.id });
    return { fake, far, near, backend, local: join(near.options.folder, '.sregistry-globus') };
  };

  test('is read by one transfer to this machine, of which nothing is left', async () => {
    const { fake, far, backend, local } = await setUp();
    await put(far, '.singularity/shub/x.sif', 'brought here');
    const image = await found(backend, named('x'));
    const read = async (offset: number, length: number) =>
      String(await buffer(await backend.read(image, offset, length)));
    expect(await Promise.all([read(0, 7), read(8, 4), read(0, 12)])).toEqual([
      'brought',
      'here',
      'brought here',
    ]);
    expect(fake.transfer.tasks.map(({ type, status }) => [type, status])).toEqual([
      ['TRANSFER', 'SUCCEEDED'],
    ]);
    expect(await readdir(local)).toHaveLength(1);
    await backend.close?.();
    expect(await readdir(local)).toEqual([]);
  });

  test('is pushed to with its labels, copied within and removed from', async () => {
    const { far, backend, local } = await setUp();
    const path = join(far.options.folder, 'image.sif');
    const bytes = randomBytes(50_000);
    await writeFile(path, bytes);
    const progress: number[] = [];
    const annotations = { maintainer: 'me' };
    await backend.push?.({ path, size: bytes.length }, named('a/x:1'), {
      annotations,
      progress: (done) => progress.push(done),
    });
    expect(progress.at(-1)).toBe(bytes.length);
    expect(await readFile(far.onDisk('.singularity/shub/a/x:1.sif'))).toEqual(bytes);
    const image = await found(backend, named('a/x:1'));
    expect(image).toMatchObject({ annotations, digest: expect.stringMatching(/^sha256:/) });
    await backend.copy?.(image, named('b/y:2'));
    expect(await backend.resolve(named('b/y:2'))).toMatchObject({ annotations, digest: image.digest });
    await backend.remove?.(image);
    expect(await readdir(far.onDisk('.singularity/shub/a'))).toEqual([]);
    await backend.close?.();
    expect(await readdir(local)).toEqual([]);
  });

  test('an image that is replaced while it is transferred is neither read nor copied', async () => {
    const { fake, far, backend } = await setUp();
    const file = await put(far, '.singularity/shub/x.sif', 'first');
    const image = await found(backend, named('x'));
    fake.transfer.onTask = ({ type }) => {
      if (type !== 'TRANSFER') return;
      writeFileSync(file, 'other');
      utimesSync(file, 1000, 1000);
    };
    await expect(backend.copy?.(image, named('b/y:2'))).rejects.toMatchObject({ code: 'STALE' });
    expect(await backend.resolve(named('b/y:2'))).toBeUndefined();
    const again = await found(backend, named('x'));
    fake.transfer.onTask = ({ type }) => {
      if (type !== 'TRANSFER') return;
      writeFileSync(file, 'third');
      utimesSync(file, 2000, 2000);
    };
    await expect(backend.read(again, 0, 5)).rejects.toMatchObject({ code: 'STALE' });
    fake.transfer.onTask = undefined;
    expect(await bytesOf(backend, 'x')).toBe('third');
  });

  test('an empty file has no bytes', async () => {
    const { far, backend } = await setUp();
    await put(far, '.singularity/shub/x.sif', '');
    expect(await bytesOf(backend, 'x')).toBe('');
  });

  test('a task that fails, or only has faults that stay, is an error in its own words', async () => {
    const { fake, far, backend } = await setUp();
    await put(far, '.singularity/shub/x.sif', 'x');
    const image = await found(backend, named('x'));
    const outcomes = [
      { status: 'FAILED', fatal_error: { code: 'x', description: 'the disk is on fire' } },
      { is_ok: false, nice_status: 'PERMISSION_DENIED' },
      { status: 'INACTIVE', nice_status: 'EXPIRED' },
    ] as const;
    const errors: unknown[] = [];
    for (const outcome of outcomes) {
      fake.transfer.onTask = (task) => Object.assign(task, outcome);
      errors.push(await backend.read(image, 0, 1).catch(({ code, message }) => `${code} ${message}`));
    }
    expect(errors).toEqual([
      expect.stringMatching(/^SERVICE .*the disk is on fire/),
      expect.stringMatching(/^FORBIDDEN .*PERMISSION_DENIED/),
      expect.stringMatching(/^UNAUTHORIZED .*EXPIRED/),
    ]);
    // Globus would go on with the second one for a day.
    expect(fake.transfer.tasks.map(({ status }) => status)).toEqual(['FAILED', 'FAILED', 'FAILED']);
  });

  test('a read that is canceled cancels its task', async () => {
    const { fake, far, backend, local } = await setUp();
    await put(far, '.singularity/shub/x.sif', 'x');
    const image = await found(backend, named('x'));
    fake.transfer.isHeld = true;
    const controller = new AbortController();
    const read = backend.read(image, 0, 1, controller.signal);
    await expect.poll(() => fake.transfer.tasks.length).toBe(1);
    controller.abort();
    await expect(read).rejects.toMatchObject({ code: 'CANCELED' });
    await expect.poll(() => fake.transfer.tasks[0]?.status).toBe('FAILED');
    expect(await readdir(local)).toEqual([]);
  });

  test('an endpoint that is off, and a machine without one, are errors that say so', async () => {
    const { fake, far, near } = await setUp();
    const login = fake.auth.login(consentTo(far));
    near.isConnected = false;
    const off = connect(fake, { login, endpoint: near.id, path: near.options.folder });
    await expect(off.check?.()).rejects.toMatchObject({
      code: 'UNREACHABLE',
      hint: /Globus Connect Personal/,
    });
    const env = { ...envOf(fake), HOME: join(fake.folder, 'nobody') };
    const none = driver.create({
      name: 'globus',
      options: optionsOf(fake, { login, endpoint: far.id }),
      env,
    });
    closing.push(async () => none.close?.());
    await put(far, '.singularity/shub/x.sif', 'x');
    await expect(bytesOf(none, 'x')).rejects.toMatchObject({ code: 'SETTINGS', hint: /localEndpoint/ });
  });
});
