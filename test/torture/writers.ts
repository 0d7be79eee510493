/**
 * Writes through a mount, by the programs people use: cp, dd, mv, a shell that appends, updates in place, rm. Each prints `done` as
 * soon as its last command said that it succeeded, and reads back what it wrote.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Arena } from './arena.ts';
import { type Content, PAGE } from './content.ts';
import type { Tag, Value, Write } from './model.ts';
import type { Random } from './random.ts';
import type { MountPoint } from './rig.ts';
import { Worker, WRITE_PATIENCE } from './workers.ts';

const COMMANDS = {
  cp: 'cp "$S" "$D"',
  dd: 'dd if="$S" of="$D" bs=64k status=none',
  'cp and mv': 'cp "$S" "$T" && mv -f "$T" "$D"',
  pieces: 'head -c "$N" "$S" > "$D" && tail -c +"$((N + 1))" "$S" >> "$D"',
  update: 'dd if="$S" of="$D" bs=4096 skip="$A" seek="$A" count="$C" conv=notrunc status=none',
  rm: 'rm "$D"',
} as const;

type How = keyof typeof COMMANDS;

const AND_TELL = ' && echo done && sha256sum < "$D"';

/** What coreutils say where all was written and `close()` failed. */
const FAILED_AT_CLOSE = /failed to close|closing output file/;

interface Job {
  readonly how: How;
  readonly mount: MountPoint;
  readonly tag: Tag;
  readonly value: Value;
  readonly variables: Record<string, string>;
  readonly source: string | undefined;
}

/** Starts a write of some kind; undefined where no tag is ready for one. */
export function startWrite(arena: Arena, random: Random): Worker | undefined {
  const job = planWrite(arena, random);
  return job && run(arena, job);
}

function planWrite(arena: Arena, random: Random): Job | undefined {
  const { mounts, tags } = arena;
  const tag = random.pick(tags.filter(({ kind }) => kind !== 'moved'));
  const own = mounts[tags.indexOf(tag) % mounts.length] as MountPoint;
  if (tag.kind === 'updated') {
    const { certain } = tag;
    if (tag.running > 0 || certain === undefined || certain === 'absent') return undefined;
    return planUpdate(arena, tag, arena.contents.get(certain), own, random);
  }
  // Where a write was kept, rm drops that one and shows what the registry has.
  if (tag.kind === 'volatile' && typeof tag.certain === 'number' && random.chance(0.4)) {
    const [mount] = mounts;
    if (mount === undefined) return undefined;
    return { how: 'rm', mount, tag, value: 'absent', variables: {}, source: undefined };
  }
  // Two writers on one mount would write one file, as anywhere.
  const free = mounts.filter(
    ({ name }) => !tag.writes.some((write) => write.mount === name && write.end === undefined),
  );
  if (free.length === 0) return undefined;
  const mount = random.pick(free);
  const content = arena.newContent(tag, random);
  const how = random.weighted<How>({ cp: 4, dd: 2, 'cp and mv': 3, pieces: 1 });
  const cut = random.integer(1, content.size);
  const source = arena.sourceOf(content.id);
  arena.bytes.write(content, source);
  return { how, mount, tag, value: content.id, variables: { N: String(cut) }, source };
}

function planUpdate(arena: Arena, tag: Tag, base: Content, mount: MountPoint, random: Random): Job {
  const content = arena.newUpdate(tag, base, random);
  const { first = 0, count = 0 } = content.update ?? {};
  const source = arena.sourceOf(content.id);
  arena.bytes.write(content, source);
  const variables = { A: String(first), C: String(count) };
  return { how: 'update', mount, tag, value: content.id, variables, source };
}

function run(arena: Arena, { how, mount, tag, value, variables, source }: Job): Worker {
  const { writes } = arena.counters;
  const target = join(mount.path, tag.path);
  const temporary = join(mount.path, `${tag.backend}/demo/writing-${value}.part`);
  const write = tag.begin({ value, mount: mount.name, how });
  writes.begun += 1;
  const worker = new Worker({
    what: `${how} of ${value} (${variables.A ?? 0}+${variables.C ?? ''} pages of ${PAGE}) to ${target}`,
    mount,
    command: 'bash',
    args: ['-c', COMMANDS[how] + AND_TELL],
    env: { ...arena.rig.env, ...variables, S: source ?? '', D: target, T: temporary },
    patience: WRITE_PATIENCE,
    onLine: (line) => hear(arena, tag, write, line),
  });
  void worker.ended.then(() => {
    if (source !== undefined) rmSync(source, { force: true });
    if (write.acked === true) return;
    write.end = Date.now();
    write.closedWhole = (how === 'cp' || how === 'dd') && FAILED_AT_CLOSE.test(worker.stderr);
    if (worker.killed) writes.killed += 1;
    else writes.failed += 1;
  });
  return worker;
}

function hear(arena: Arena, tag: Tag, write: Write, line: string): undefined {
  if (line === 'done') {
    write.acked = true;
    write.end = Date.now();
    arena.counters.writes.done += 1;
    void checkRegistry(arena, tag, write).catch((error: Error) =>
      arena.violation('registry cannot be asked', error.message),
    );
    return;
  }
  checkReadBack(arena, tag, write, line.split(' ')[0] ?? '');
}

/** What was acknowledged is in the registry, unless somebody else has written since. */
async function checkRegistry(arena: Arena, tag: Tag, write: Write): Promise<void> {
  const from = Date.now();
  const value = await arena.valueOf(tag);
  if (typeof value === 'number' || value === 'absent') {
    if (tag.mayBe(value, from, Date.now())) return;
  }
  arena.violation(
    'acknowledged, not in the registry',
    `${tag.uri} is ${value} after ${write.how} of ${write.value} on ${write.mount} was done: ${tag.history()}`,
  );
}

/** What its writer reads right after the close, through the same mount. */
function checkReadBack(arena: Arena, tag: Tag, write: Write, digest: string): void {
  const found = arena.contents.find(digest);
  arena.counters.writes.readBack += 1;
  const now = Date.now();
  if (found !== undefined && tag.mayBe(found, write.end ?? now, now)) return;
  if (tag.isBeingWritten(write.mount ?? '', now, now)) {
    arena.counters.unjudged += 1;
    return;
  }
  const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  const what = digest === EMPTY ? 'an empty file' : (found ?? `bytes that nobody meant (${digest})`);
  arena.violation(
    'read back wrong',
    `${tag.path} on ${write.mount} was ${what} right after ${write.how} of ${write.value}: ${tag.history()}`,
  );
}
