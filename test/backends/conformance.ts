/**
 * What every driver is held to. A driver's test starts a service, says how to connect to it and what it cannot do:
 *
 *     conformance({
 *       name: 'oci',
 *       needs: { registry: true },
 *       create: async () => {
 *         const registry = await startRegistry();
 *         return {
 *           origin: registry.url,
 *           connect: ({ origin, env }) => driver.create({ name: 'docker', options: { base: origin }, env }),
 *           close: () => registry.remove(),
 *         };
 *       },
 *       lacks: { share: 'the protocol has no links' },
 *     });
 *
 * The service is started once. Every test works in a collection of its own, so one that stays between runs will do if
 * `collection` differs from run to run. A driver that speaks HTTP is connected through ../servers/fault-proxy.ts, which
 * counts its requests and spoils some. Each entry of `lacks` replaces the cases of that ability by one that it is
 * really absent; the reason stands in that test's name.
 *
 * A preset of another driver passes that as `presetOf`. It only says where that driver finds its service, and how it logs in; a test
 * proves that its methods are that driver's. So the cases are left out that concern the methods alone: ranges, revisions, uploads,
 * faults, cancelling. That driver's own suite has them.
 *
 * `Subject` says what a driver may give so that the suite can reach further. The cases are in the folder beside this file.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Backend, CAPABILITIES, type Driver } from '../../src/backends/backend.ts';
import { drivers } from '../../src/backends/registry.ts';
import { declaration as template } from '../../src/backends/template/declaration.ts';
import type { ImageName } from '../../src/image/name.ts';
import { type Need, needs } from '../helpers/skip.ts';
import { Bench } from './conformance/bench.ts';
import { canceling } from './conformance/canceling.ts';
import { credentials } from './conformance/credentials.ts';
import { faults } from './conformance/faults.ts';
import { listing } from './conformance/listing.ts';
import { managing } from './conformance/managing.ts';
import { pushing } from './conformance/pushing.ts';
import { reading } from './conformance/reading.ts';
import { resolving } from './conformance/resolving.ts';
import { revisions } from './conformance/revisions.ts';
import { uploading } from './conformance/uploading.ts';

export type Ability =
  /** Collections can be listed. Without it, `list` is the error UNSUPPORTED. */
  | 'list'
  /** Collections hold collections, to any depth. */
  | 'depth'
  /** Upper and lower case differ. Without it, an image is found in any case, and listed in lower case. */
  | 'case'
  /** Files are read in ranges. Without it, the service sends a file as a whole, whatever is asked for. */
  | 'ranges'
  /** Listings come in pages. Without it, a long listing takes no more requests than a short one. */
  | 'pages'
  /** Optional methods of a backend. Without it, the property is absent. */
  | 'push'
  | 'search'
  | 'share'
  | 'remove'
  | 'copy'
  | 'check'
  /** Metadata is kept beside an image. Without it, what was pushed comes back without any. */
  | 'annotations'
  /** An interrupted push goes on where it was. Without it, nothing is saved to do so. */
  | 'resume'
  /** A 401 leads to new credentials. Without it, a 401 is the error UNAUTHORIZED, and the request is not repeated. */
  | 'renewal'
  /** Redirects of a read are followed. Without it, they are an error. */
  | 'redirect';

/** Why a driver cannot do something, as part of a sentence: `the service is read-only`. */
export type Lacks = Readonly<Partial<Record<Ability, string>>>;

export interface Connection {
  /** What to use in place of the service's address: a proxy in front of it. `''` for a subject without an origin. */
  readonly origin: string;
  readonly env: NodeJS.ProcessEnv;
}

/** A service to hold the driver to. Only `connect` is needed of a driver that can push to a service without HTTP. */
export interface Subject {
  /** Address of the HTTP service, `http://host:port`. Without one there is no network to spoil. */
  readonly origin?: string;
  /** A new backend of the service. Called often; the suite closes what it gets. `env` holds SREGISTRY_TIMEOUT at times. */
  connect(connection: Connection): Backend | Promise<Backend>;
  /** Stores an image, or replaces it, without the driver. Default: a push. A service that is read-only needs it. */
  put?(name: ImageName, bytes: Buffer, annotations: Readonly<Record<string, string>>): Promise<void>;
  /** Collection that all is done in. Default `conformance`. `''` where the service has none. */
  readonly collection?: string;
  /** Is each test's collection at the top, named after `collection`? Default: it is one in `collection`. */
  readonly flat?: boolean;
  /** Names below a collection with every character the service allows, such as `a+b/x_y:1.0-rc`. */
  readonly names?: readonly string[];
  /**
   * Images on one page of a listing; default 1000, which only a service with a fast `put` should be asked for. `rewrite` changes the
   * address of a request on its way, for a service whose pages are as long as the client says.
   */
  readonly pages?: { readonly size: number; readonly rewrite?: (url: URL) => void };
  /** Requests that no fault meets: those of a token service at the service's own address. */
  readonly exempt?: (request: { readonly url?: string | undefined }) => boolean;
  /** Bytes of an image that is pushed in several parts. Default 20 MiB. */
  readonly large?: number;
  /** Headers of the 401 that shall make the driver get new credentials. */
  readonly challenge?: Readonly<Record<string, string>>;
  /** The bytes behind what `share` answers. Default: those that a GET of it gives. */
  shared?(link: string): Promise<Buffer>;
  close?(): Promise<void>;
}

export interface Conformance {
  readonly name: string;
  readonly needs?: Partial<Record<Need, boolean>>;
  create(): Promise<Subject>;
  /** Does the driver speak HTTP? Default true; false leaves out what only a network can do. */
  readonly http?: boolean;
  readonly lacks?: Lacks;
  readonly presetOf?: Driver;
}

export function conformance({
  name,
  needs: needed = {},
  create,
  http = true,
  lacks = {},
  presetOf,
}: Conformance): void {
  needs(needed)(`the driver ${name}`, () => {
    let bench: Bench | undefined;
    beforeAll(async () => {
      bench = await Bench.open(await create());
    });
    afterEach(() => bench?.mend());
    afterAll(() => bench?.close());

    const at = () => bench as Bench;
    test('can do what its driver declares, and lacks what it does not', () => {
      const known = [...drivers, template].find(({ name: each }) => each === at().backend.driver);
      const able = CAPABILITIES.filter((capability) => lacks[capability] === undefined);
      expect([...(known?.capabilities ?? [])].sort()).toEqual([...able].sort());
    });
    if (presetOf !== undefined)
      test(`has the methods of the driver ${presetOf.name}, for which that driver's suite holds`, async () => {
        const original = presetOf.create({ name: 'original', options: {}, env: {} });
        expect(methodsOf(at().backend)).toEqual(methodsOf(original));
        await original.close?.();
      });
    const isOwn = presetOf === undefined;
    describe('resolves', () => resolving(at, http && isOwn));
    describe('lists', () => listing(at, lacks));
    describe('pushes', () => pushing(at, lacks));
    describe('manages', () => managing(at, lacks));
    if (http) describe('keeps credentials', () => credentials(at, lacks));
    if (!isOwn) return;
    describe('reads', () => reading(at));
    describe('keeps revisions apart', () => revisions(at, http));
    if (lacks.push === undefined) describe('uploads', () => uploading(at, lacks, http));
    if (!http) return;
    describe('cancels', () => canceling(at, lacks));
    describe('bears faults', () => faults(at, lacks));
  });
}

/** The source of each method of a backend, by its name. */
function methodsOf(backend: Backend): Record<string, string> {
  const methods = Object.entries(backend).filter(([, value]) => typeof value === 'function');
  return Object.fromEntries(methods.map(([name, method]) => [name, String(method)]));
}
