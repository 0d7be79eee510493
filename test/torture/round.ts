/**
 * One round: mounts are up, readers and writers work, tags move, requests get faults, processes are hit. Then faults end, everybody
 * goes, the mounts are made anew, and everything has to be as checks.ts says.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Arena, CACHE_LIMITS } from './arena.ts';
import { Chaos } from './chaos.ts';
import {
  checkCache,
  checkDescriptors,
  checkSize,
  checkTags,
  clearLeftovers,
  finishPushes,
  mountAll,
  unmountAll,
} from './checks.ts';
import { add } from './counters.ts';
import { USUAL } from './faults.ts';
import type { Plan } from './proxy-process.ts';
import { Random } from './random.ts';
import { startLooker, startReader } from './readers.ts';
import { type Worker, WRITE_PATIENCE } from './workers.ts';
import { startWrite } from './writers.ts';

export type Flavour = 'kills' | 'faults' | 'wrong bytes' | 'small disk';

const FLAVOURS: Record<Flavour, number> = { kills: 1.5, faults: 12, 'wrong bytes': 2, 'small disk': 2 };

/** A short run has one round of each. */
const FIRST: readonly Flavour[] = ['faults', 'small disk', 'kills', 'wrong bytes'];

/** Mebibytes of a small disk, and what the cache on it may take. */
const SMALL_DISK = 40;
const SMALL_LIMITS = { size: 28 * 1024 * 1024, minFree: 2 * 1024 * 1024 };

const MODES = ['sequential', 'random', 'openings'] as const;
const WRITERS = 3;

/** Milliseconds: how often something is done. */
const TICK = 100;
const ACT_INTERVAL = 500;
const MOVE_INTERVAL = 1_200;
const WATCH_INTERVAL = 1_000;

/** Milliseconds a process may take to die whose mount was taken away. */
const LAST_PATIENCE = 60_000;

/** `wanted`: the flavour; default by chance. */
export async function runRound(arena: Arena, seconds: number, wanted?: Flavour): Promise<void> {
  const random = new Random(arena.seed, 'round', arena.round);
  const flavour = wanted ?? chooseFlavour(arena, random);
  const plan = planFaults(flavour, random);
  console.error(
    `round ${arena.round}: ${flavour}, ${Math.round(plan.rate * 100)} % of requests with a fault`,
  );
  if (plan.rate > 0) arena.admitPast();
  const release = await prepareCache(arena, flavour);
  try {
    for (const proxy of arena.proxies) proxy.spoil(plan);
    const began = Date.now();
    await new Storm(arena, random, flavour === 'wrong bytes').blow(seconds);
    for (const proxy of arena.proxies) proxy.calm();
    const stormed = Date.now();
    await checkAll(arena, random, flavour === 'wrong bytes');
    console.error(`round ${arena.round}: ${since(began, stormed)} of storm, ${since(stormed)} of checks`);
    arena.counters.rounds += 1;
    // Parts of images, which no digest can judge yet, may hold flipped bits.
    if (flavour === 'wrong bytes') await arena.rig.ok('cache', 'prune');
  } finally {
    await release();
  }
}

const since = (from: number, to = Date.now()) => `${Math.round((to - from) / 1000)} s`;

function chooseFlavour(arena: Arena, random: Random): Flavour {
  const flavour = FIRST[arena.round - 1] ?? random.weighted(FLAVOURS);
  if (flavour !== 'small disk' || process.getuid?.() === 0) return flavour;
  add(arena.counters.skipped, 'small disks (not root)');
  return 'faults';
}

function planFaults(flavour: Flavour, random: Random): Plan {
  if (flavour === 'kills') return { rate: 0, weights: {} };
  if (flavour === 'wrong bytes') return { rate: 0.35, weights: { ...USUAL, 'wrong-bytes': 25 } };
  return { rate: flavour === 'small disk' ? 0.35 : 0.3 + random.next() * 0.4, weights: USUAL };
}

/** Gives the mounts the cache of the round; the answer takes a small disk away again. */
async function prepareCache(arena: Arena, flavour: Flavour): Promise<() => Promise<void>> {
  const { rig } = arena;
  rig.limits = CACHE_LIMITS;
  rig.cache = join(rig.home, 'cache');
  if (flavour !== 'small disk') {
    await mountAll(arena);
    return async () => unmountAll(arena);
  }
  const disk = join(rig.home, 'disk');
  mkdirSync(disk, { recursive: true });
  const { code, stderr } = await rig.run('mount', [
    '-t',
    'tmpfs',
    '-o',
    `size=${SMALL_DISK}m,mode=700`,
    'tmpfs',
    disk,
  ]);
  if (code !== 0) throw new Error(`no small disk: ${stderr}`);
  rig.cache = join(disk, 'cache');
  rig.limits = SMALL_LIMITS;
  await mountAll(arena);
  return async () => {
    await unmountAll(arena);
    await rig.run('umount', ['-l', disk]);
  };
}

/** What happens while the round lasts. */
class Storm {
  readonly #arena: Arena;
  readonly #random: Random;
  readonly #wrongBytes: boolean;
  readonly #workers = new Set<Worker>();
  readonly #chaos: Chaos;
  readonly #moves = new Set<Promise<void>>();
  #readers = 0;

  constructor(arena: Arena, random: Random, wrongBytes: boolean) {
    this.#arena = arena;
    this.#random = random;
    this.#wrongBytes = wrongBytes;
    this.#chaos = new Chaos(arena, random, this.#workers);
  }

  async blow(seconds: number): Promise<void> {
    const end = Date.now() + seconds * 1000;
    const due = new Schedule();
    while (Date.now() < end) {
      this.#populate();
      if (due.now('act', ACT_INTERVAL)) this.#chaos.act();
      if (due.now('move', MOVE_INTERVAL)) this.#move();
      if (due.now('watch', WATCH_INTERVAL)) await this.#watch();
      await sleep(TICK);
    }
    for (const proxy of this.#arena.proxies) proxy.calm();
    await this.#finish();
  }

  /** Starts readers and writers in the place of those that ended. */
  #populate(): void {
    if (this.#arena.isGivenUp) return;
    const running = [...this.#workers].filter(({ isRunning }) => isRunning);
    for (const mount of this.#arena.mounts) {
      for (const mode of MODES) {
        if (!running.some(({ what }) => what === `${mode} reader on ${mount.name}`))
          this.#startReader(mount, mode);
      }
      if (!running.some(({ what }) => what === `looking reader on ${mount.name}`))
        this.#add(startLooker(this.#arena, mount, this.#nextSeed()));
    }
    const writers = running.filter(({ what }) => !what.includes(' reader on ')).length;
    if (writers >= WRITERS) return;
    const writer = startWrite(this.#arena, this.#random);
    if (writer !== undefined) this.#add(writer);
  }

  #startReader(mount: Worker['mount'], mode: (typeof MODES)[number]): void {
    const seed = this.#nextSeed();
    this.#add(startReader(this.#arena, { mount, mode, seed, wrongBytes: this.#wrongBytes }));
  }

  #nextSeed(): string {
    this.#readers += 1;
    return `${this.#arena.seed}/${this.#arena.round}/${this.#readers}`;
  }

  #add(worker: Worker): void {
    this.#workers.add(worker);
    void worker.ended.then(() => this.#workers.delete(worker));
  }

  #move(): void {
    const arena = this.#arena;
    const movable = arena.tags.filter(({ kind }) => kind === 'moved' || kind === 'written');
    const tag = this.#random.pick(movable);
    if (tag.image === 'large' && !this.#random.chance(0.2)) return;
    const move = arena
      .move(tag, this.#random)
      .catch((error: Error) => arena.violation('registry cannot be asked', error.message))
      .finally(() => this.#moves.delete(move));
    this.#moves.add(move);
  }

  async #watch(): Promise<void> {
    this.#chaos.watch();
    checkSize(this.#arena);
    for (const worker of this.#workers) if (worker.isSilentTooLong) await this.#chaos.breakHang(worker);
  }

  /** Readers go at once, writers when they are done. */
  async #finish(): Promise<void> {
    await this.#chaos.rest();
    for (const worker of this.#workers) {
      if (!worker.what.includes(' reader on ')) continue;
      add(this.#arena.counters.kills, 'worker SIGKILL');
      worker.signal('SIGKILL');
    }
    const deadline = Date.now() + WRITE_PATIENCE;
    while (this.#workers.size > 0) {
      for (const worker of this.#workers) {
        if (worker.isSilentTooLong || (Date.now() > deadline && !worker.hangs))
          await this.#chaos.breakHang(worker);
      }
      if (Date.now() > deadline + LAST_PATIENCE) throw new Error('a process cannot be killed');
      await sleep(TICK);
    }
    await this.#chaos.rest();
    await Promise.all(this.#moves);
  }
}

/** When things were done last. */
class Schedule {
  readonly #last = new Map<string, number>();

  /** Is it time? */
  now(what: string, interval: number): boolean {
    if (Date.now() - (this.#last.get(what) ?? 0) < interval) return false;
    this.#last.set(what, Date.now());
    return true;
  }
}

async function checkAll(arena: Arena, random: Random, wrongBytes: boolean): Promise<void> {
  await checkDescriptors(arena);
  await unmountAll(arena);
  await mountAll(arena);
  const left = await finishPushes(arena);
  await checkTags(arena, left);
  await clearLeftovers(arena, left);
  for (const mount of arena.mounts) await readEverything(arena, mount, random, wrongBytes);
  await checkCache(arena);
  await checkDescriptors(arena);
}

/** An image with wrong bytes in the cache fails once and is fetched anew: it may take as many tries as blocks were hit. */
const TRIES = { healthy: 1, 'after wrong bytes': 4 };

/**
 * Each image, read whole through a mount with nothing in its way, is what the registry has. After wrong bytes that is all of them: nothing is
 * left then that was not compared with its digest.
 */
async function readEverything(
  arena: Arena,
  mount: Worker['mount'],
  random: Random,
  wrongBytes: boolean,
): Promise<void> {
  const wanted = new Map(
    arena.tags
      .filter(
        ({ settled, image }) =>
          settled !== 'absent' && (image !== 'large' || wrongBytes || random.chance(0.3)),
      )
      .map(({ path, settled }) => [path, settled]),
  );
  const tries = wrongBytes ? TRIES['after wrong bytes'] : TRIES.healthy;
  let stderr = '';
  for (let i = 0; i < tries && wanted.size > 0; i++) {
    const reader = startReader(arena, {
      mount,
      mode: 'sequential',
      seed: `${arena.seed}/${arena.round}/${mount.name}/${i}`,
      wrongBytes,
      once: [...wanted.keys()],
      onWhole: (path) => wanted.delete(path),
    });
    while (reader.isRunning && !reader.isSilentTooLong) await sleep(TICK);
    if (reader.isRunning) {
      arena.violation('a system call does not end', `${reader.what}: ${reader.whereabouts()}`);
      reader.signal('SIGKILL');
    }
    await reader.ended;
    stderr = reader.stderr;
  }
  for (const path of wanted.keys())
    arena.violation('an image cannot be read', `${path} on ${mount.name}, with nothing in its way ${stderr}`);
}
