/** Logging in where the driver decides what a login is, and where it leaves that to its options. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Backend, Driver, LoginUi } from '../../src/backends/backend.ts';
import {
  loginByCode,
  loginByDevice,
  loginByPastedCode,
  loginByRedirect,
} from '../../src/backends/oauth-login.ts';
import { SregistryError } from '../../src/base/errors.ts';
import { loginWith, logout } from '../../src/client/auth.ts';
import { bot } from '../../src/log/index.ts';
import { type OAuthServer, registrationAt, startOAuthServer } from '../servers/oauth-server.ts';
import { TemporaryHome } from './temporary.ts';

/** The part of a driver that is not its declaration. */
type Code = Pick<Driver, 'create' | 'login' | 'logout'>;

const acme = vi.hoisted(() => ({ driver: undefined as unknown as Code }));

vi.mock('../../src/backends/registry.ts', async (original) => {
  const { drivers } = await original<typeof import('../../src/backends/registry.ts')>();
  const entry = {
    name: 'acme',
    title: 'A service for the test',
    aliases: [],
    capabilities: [],
    options: {
      base: { required: true, describe: 'Address' },
      username: { describe: 'User' },
      token: { secret: true, describe: 'Token' },
    },
    load: async () => ({ ...entry, ...acme.driver }),
  };
  const keyed = {
    ...entry,
    name: 'keyed',
    options: {
      username: { default: '$key', describe: 'User' },
      token: { required: true, secret: true, describe: 'Key' },
      other: { secret: true, asked: false, describe: 'Key of another kind' },
    },
    load: async () => ({ ...keyed, ...acme.driver }),
  };
  return { drivers: [...drivers, entry, keyed] };
});

let home: TemporaryHome;
let server: OAuthServer;
let refused = false;
beforeEach(async () => {
  home = new TemporaryHome();
  home.configure({ lab: { driver: 'acme', base: 'http://acme.example' } });
  server = await startOAuthServer();
  refused = false;
});
afterEach(async () => {
  await server.close();
  home[Symbol.dispose]();
});

/** A driver whose backends are only checked. */
function use(own: Pick<Driver, 'login' | 'logout'>): void {
  acme.driver = {
    create: () =>
      ({
        async check() {
          if (refused) throw new SregistryError('UNAUTHORIZED', 'no');
        },
      }) as unknown as Backend,
    ...own,
  };
}

function person(answers: readonly string[], show: LoginUi['show'] = () => {}) {
  const left = [...answers];
  const asked: [string, boolean][] = [];
  const ui: LoginUi = {
    isInteractive: true,
    ask: async (question, { secret = false } = {}) => {
      asked.push([question, secret]);
      return left.shift() ?? '';
    },
    show,
  };
  return { ui, asked };
}

const nobody: LoginUi = {
  isInteractive: false,
  ask: () => Promise.reject(new SregistryError('SETTINGS', 'there is no terminal')),
  show: () => {
    throw new SregistryError('SETTINGS', 'there is no terminal');
  },
};

const entry = () => JSON.parse(readFileSync(home.path('.sregistry'), 'utf8')).lab;
const UNTOUCHED = { driver: 'acme', base: 'http://acme.example' };

describe('A driver with a login of its own', () => {
  test('leads a person through a redirect, and what comes of it is kept.', async () => {
    use({
      login: async ({ env, signal }, ui) => {
        const { refreshToken = '' } = await loginByRedirect(registrationAt(server), ui, { env, signal });
        return { token: refreshToken };
      },
    });
    await using session = await home.open();
    const { ui } = person([], ({ url }) => void fetch(url).then((page) => page.text()));
    expect(await loginWith('lab', ui, session)).toBe(true);
    expect(entry()).toEqual({ ...UNTOUCHED, token: server.given[0]?.refresh_token });
  });

  test('shows a code for another device.', async () => {
    use({
      login: async ({ env }, ui) => ({
        token: (await loginByDevice(registrationAt(server), ui, { env })).refreshToken ?? '',
      }),
    });
    await using session = await home.open();
    const show = vi.fn();
    await loginWith('lab', person([], show).ui, session);
    expect(show).toHaveBeenCalledWith({ url: `${server.url}/device`, code: 'WDJB-MJHT' });
    expect(entry().token).toBe(server.given[0]?.refresh_token);
  });

  test('takes a code that a person pastes.', async () => {
    use({ login: async ({ options }, ui) => ({ token: await loginByCode(`${options.base}/code`, ui) }) });
    await using session = await home.open();
    const show = vi.fn();
    await loginWith('lab', person([' pasted-code '], show).ui, session);
    expect(show).toHaveBeenCalledWith({ url: 'http://acme.example/code' });
    expect(entry().token).toBe('pasted-code');
  });

  test.each([
    ['a page of its own', 'https://auth.example/code'],
    ['its answer to a request without a page', undefined],
  ])('exchanges the code that the service shows on %s.', async (_where, page) => {
    use({
      login: async ({ env }, ui) => ({
        token: (await loginByPastedCode(registrationAt(server), page, ui, { env })).refreshToken ?? '',
      }),
    });
    await using session = await home.open();
    /** Copies the code from the page, or from its address. */
    const ui = {
      ...person([]).ui,
      shown: '',
      show: ({ url }: { url: string }) => {
        ui.shown = url;
      },
      ask: async () => {
        const answer = await fetch(ui.shown, { redirect: 'manual' });
        const location = answer.headers.get('location');
        return location === null ? answer.text() : (new URL(location).searchParams.get('code') ?? '');
      },
    };
    expect(await loginWith('lab', ui, session)).toBe(true);
    expect(new URL(ui.shown).searchParams.get('redirect_uri')).toBe(page ?? null);
    expect(entry().token).toBe(server.given[0]?.refresh_token);
  });

  test('is tried itself, whatever a variable says, which is a warning.', async () => {
    const tried: unknown[] = [];
    use({ login: async () => ({ token: 'new-token' }) });
    const { create } = acme.driver;
    acme.driver = {
      ...acme.driver,
      create: (context) => {
        tried.push(context.options.token);
        return create(context);
      },
    };
    home.env.SREGISTRY_LAB_TOKEN = 'old-token';
    const warning = vi.spyOn(bot, 'warning').mockImplementation(() => {});
    await using session = await home.open();
    await loginWith('lab', nobody, session);
    expect(tried).toEqual(['new-token']);
    expect(entry().token).toBe('new-token');
    expect(warning.mock.calls).toEqual([[expect.stringContaining('SREGISTRY_LAB_TOKEN')]]);
    home.env.SREGISTRY_LAB_TOKEN = 'new-token';
    await loginWith('lab', nobody, session);
    expect(warning).toHaveBeenCalledOnce();
  });

  test('keeps nothing that the service refuses.', async () => {
    use({ login: async () => ({ token: 'wrong-token' }) });
    refused = true;
    await using session = await home.open();
    await expect(loginWith('lab', nobody, session)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    expect(entry()).toEqual(UNTOUCHED);
  });

  test('says so where it needs a terminal and there is none.', async () => {
    use({ login: async (_context, ui) => ({ token: await ui.ask('Token:', { secret: true }) }) });
    await using session = await home.open();
    await expect(loginWith('lab', nobody, session)).rejects.toMatchObject({ code: 'SETTINGS' });
    expect(entry()).toEqual(UNTOUCHED);
  });

  test('is not asked where the user and the secret are given.', async () => {
    const login = vi.fn();
    use({ login });
    await using session = await home.open();
    await loginWith('lab', nobody, session, { given: { user: 'me', secret: 'given-token' } });
    expect(login).not.toHaveBeenCalled();
    expect(entry()).toEqual({ ...UNTOUCHED, username: 'me', token: 'given-token' });
  });

  test('revokes it at a logout; a service that cannot be told keeps nobody logged in here.', async () => {
    const revoked: unknown[] = [];
    use({
      logout: async ({ options }) => {
        revoked.push(options.token);
        throw new SregistryError('UNREACHABLE', 'acme is away');
      },
    });
    home.configure({ lab: { ...UNTOUCHED, token: 'old-token' } });
    await using session = await home.open();
    expect(await logout('lab', session)).toBe(true);
    expect(revoked).toEqual(['old-token']);
    expect(entry()).toEqual(UNTOUCHED);
  });
});

describe('A driver without one', () => {
  test('is asked for its options that are credentials, the secret ones without an echo.', async () => {
    use({});
    await using session = await home.open();
    const { ui, asked } = person(['me', 'my-token']);
    await loginWith('lab', ui, session);
    expect(asked).toEqual([
      ['username (User):', false],
      ['token (Token):', true],
    ]);
    expect(entry()).toEqual({ ...UNTOUCHED, username: 'me', token: 'my-token' });
  });

  test('is not asked for a user with a default, nor for secrets of another login.', async () => {
    use({});
    await using session = await home.open();
    const { ui, asked } = person(['my-key']);
    await loginWith('keyed', ui, session);
    expect(asked).toEqual([['token (Key):', true]]);
    expect(JSON.parse(readFileSync(home.path('.sregistry'), 'utf8')).keyed).toEqual({ token: 'my-key' });
  });

  test('takes no empty answer for what it needs.', async () => {
    use({});
    await using session = await home.open();
    await expect(loginWith('keyed', person([]).ui, session)).rejects.toMatchObject({
      code: 'USAGE',
      message: 'Nothing was entered, and keyed needs token',
    });
  });

  test('needs what is asked for to be given where there is nobody to ask.', async () => {
    use({});
    await using session = await home.open();
    await expect(loginWith('lab', nobody, session)).rejects.toMatchObject({
      code: 'USAGE',
      hint: expect.stringContaining('--password-stdin'),
    });
  });

  test('that has no credentials needs no login.', async () => {
    await using session = await home.open();
    await expect(loginWith('local', nobody, session)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });
});
