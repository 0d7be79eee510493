/** What users, other clients and accidents do, as fast-check commands over the model and the real thing. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { keyOf } from '../../src/fs/tree.ts';
import { IMAGES, imageOf, TEXT } from './content.ts';
import type { Model, Opened, Outcome } from './model.ts';

/** The real thing. Errors have a `code`, the name of an errno. */
export interface Subject<H> {
  open(path: string, how: 'read' | 'update' | 'replace'): Promise<H>;
  write(handle: H, bytes: Buffer, at: number): Promise<void>;
  truncate(handle: H, size: number): Promise<void>;
  /** close(2) of a duplicate. */
  flush(handle: H): Promise<void>;
  close(handle: H): Promise<void>;
  readAll(handle: H): Promise<Buffer>;
  unlink(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Another client moves a tag. */
  moveTag(path: string, bytes: Buffer): Promise<void>;
  setAway(isAway: boolean): Promise<void>;
  /** Kills the mount and mounts again. */
  crash(): Promise<void>;
  /** Records in the journal. */
  recorded(): Promise<number>;
}

/** One run: the real thing, and its handles beside the model's. */
export interface World<H> {
  readonly subject: Subject<H>;
  readonly handles: Map<Opened, H>;
  /** Every path that can be. */
  readonly paths: readonly string[];
}

type Command<H> = fc.AsyncCommand<Model, World<H>>;

async function outcomeOf(call: Promise<unknown>): Promise<Outcome> {
  return call.then(
    () => undefined,
    (error: NodeJS.ErrnoException) => {
      if (error.code === undefined) throw error;
      return error.code;
    },
  );
}

/** All that can be seen is what the model has. */
async function compare<H>(model: Model, { subject, handles, paths }: World<H>): Promise<void> {
  for (const [opened, handle] of handles) {
    const { file, writes } = opened;
    if (!writes) expectBytes(await subject.readAll(handle), Buffer.isBuffer(file) ? file : file.bytes);
  }
  for (const path of paths) {
    if (model.isAway && !model.files.has(keyOf(path))) continue;
    const wanted = model.content(path);
    const opening = subject.open(path, 'read');
    if (wanted === undefined) expect(await outcomeOf(opening), path).toBe('ENOENT');
    else {
      const handle = await opening;
      const bytes = await subject.readAll(handle);
      await subject.close(handle);
      expectBytes(bytes, wanted);
    }
  }
  expect(await subject.recorded()).toBe(model.recorded);
}

/** Says which image it is rather than printing thousands of bytes. */
function expectBytes(bytes: Buffer, wanted: Buffer): void {
  if (bytes.equals(wanted)) return;
  const from = Array.from({ length: Math.max(bytes.length, wanted.length) }, (_, at) => at);
  const at = from.find((each) => bytes[each] !== wanted[each]);
  throw new Error(`read ${bytes.length} bytes, not the ${wanted.length} wanted: they differ at ${at}`);
}

function command<H>(
  text: string,
  check: (model: Model) => boolean,
  run: (model: Model, world: World<H>) => Promise<void>,
): Command<H> {
  return {
    check: (model) => check(model as Model),
    run: async (model, world) => {
      await run(model, world);
      await compare(model, world);
    },
    toString: () => text,
  };
}

/** A service that is away leaves nothing to ask: then only files being written are looked at. */
const isKnown = (model: Model, path: string) => !model.isAway || model.files.has(keyOf(path));

/** What the registry has is not removed or renamed while it is away. */
const isLocal = (model: Model, path: string) => {
  const file = model.files.get(keyOf(path));
  return !model.isAway || (file !== undefined && file.state !== 'pushed' && file.state !== 'unchanged');
};

function openCommand<H>(path: string, how: 'read' | 'update' | 'replace'): Command<H> {
  const check = (model: Model) => isKnown(model, path) && model.opened.size < 6;
  return command(`open ${path} to ${how}`, check, async (model, { subject, handles }) => {
    const opened = how === 'read' ? model.openForReading(path) : model.openForWriting(path, how);
    const opening = subject.open(path, how);
    if (typeof opened !== 'object') expect(await outcomeOf(opening)).toBe(opened);
    else handles.set(opened, await opening);
  });
}

/** `act` on one of the open files, chosen by a number. */
function onOpened<H>(
  text: string,
  pick: number,
  filter: (opened: Opened) => boolean,
  act: (model: Model, opened: Opened, subject: Subject<H>, handle: H) => Promise<void>,
): Command<H> {
  const candidates = (model: Model) => [...model.opened].filter(filter);
  const check = (model: Model) => candidates(model).length > 0;
  return command(text, check, async (model, { subject, handles }) => {
    const all = candidates(model);
    const opened = all[pick % all.length] as Opened;
    await act(model, opened, subject, handles.get(opened) as H);
    for (const each of handles.keys()) if (!model.opened.has(each)) handles.delete(each);
  });
}

const isWriter = ({ writes }: Opened) => writes;
const picks = fc.nat({ max: 5 });

export interface CommandOptions {
  readonly paths: readonly string[];
  /** Of those, the images' names. */
  readonly images: readonly string[];
  /** Can a duplicate of a descriptor be closed? */
  readonly duplicates: boolean;
}

export function commands<H>({ paths, images, duplicates }: CommandOptions): fc.Arbitrary<Command<H>>[] {
  const path = fc.constantFrom(...paths);
  const image = fc.constantFrom(...images);
  const number = fc.nat({ max: IMAGES - 1 });
  const kilobytes = fc.nat({ max: 15 });
  const all: { weight: number; arbitrary: fc.Arbitrary<Command<H>> }[] = [
    { weight: 3, arbitrary: path.map((at) => openCommand(at, 'read')) },
    { weight: 2, arbitrary: path.map((at) => openCommand(at, 'update')) },
    { weight: 3, arbitrary: path.map((at) => openCommand(at, 'replace')) },
    {
      weight: 5,
      arbitrary: fc.tuple(picks, number).map(([pick, which]) =>
        onOpened<H>(
          `write image ${which} to #${pick}`,
          pick,
          isWriter,
          async (model, opened, subject, handle) => {
            const outcome = model.write(opened, imageOf(which), 0);
            expect(await outcomeOf(subject.write(handle, imageOf(which), 0))).toBe(outcome);
          },
        ),
      ),
    },
    {
      weight: 3,
      arbitrary: fc.tuple(picks, number, kilobytes, kilobytes).map(([pick, which, at, length]) =>
        onOpened<H>(
          `write ${length} kB at ${at} kB of image ${which} to #${pick}`,
          pick,
          isWriter,
          async (model, opened, subject, handle) => {
            const part = imageOf(which).subarray(at * 1000, (at + length) * 1000);
            if (part.length === 0) return;
            const outcome = model.write(opened, part, at * 1000);
            expect(await outcomeOf(subject.write(handle, part, at * 1000))).toBe(outcome);
          },
        ),
      ),
    },
    {
      weight: 1,
      arbitrary: picks.map((pick) =>
        onOpened<H>(`write text to #${pick}`, pick, isWriter, async (model, opened, subject, handle) => {
          const outcome = model.write(opened, TEXT, 0);
          expect(await outcomeOf(subject.write(handle, TEXT, 0))).toBe(outcome);
        }),
      ),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(picks, kilobytes).map(([pick, size]) =>
        onOpened<H>(
          `truncate #${pick} to ${size} kB`,
          pick,
          isWriter,
          async (model, opened, subject, handle) => {
            const outcome = model.truncate(opened, size * 1000);
            expect(await outcomeOf(subject.truncate(handle, size * 1000))).toBe(outcome);
          },
        ),
      ),
    },
    {
      weight: 6,
      arbitrary: picks.map((pick) =>
        onOpened<H>(
          `close #${pick}`,
          pick,
          () => true,
          async (model, opened, subject, handle) => {
            const outcome = model.flush(opened);
            model.release(opened);
            expect(await outcomeOf(subject.close(handle))).toBe(outcome);
          },
        ),
      ),
    },
    { weight: 3, arbitrary: path.map((at) => unlinkCommand<H>(at)) },
    { weight: 4, arbitrary: fc.tuple(path, path).map(([from, to]) => renameCommand<H>(from, to)) },
    {
      weight: 1,
      arbitrary: fc.tuple(image, number).map(([at, which]) => moveCommand<H>(at, which)),
    },
    {
      weight: 1,
      arbitrary: fc.boolean().map((isAway) =>
        command<H>(
          isAway ? 'the registry goes away' : 'the registry comes back',
          (model) => model.isAway !== isAway,
          async (model, { subject }) => {
            model.isAway = isAway;
            await subject.setAway(isAway);
          },
        ),
      ),
    },
    {
      weight: 1,
      arbitrary: fc.constant(
        command<H>(
          'kill the mount and mount again',
          () => true,
          async (model, { subject, handles }) => {
            handles.clear();
            model.crash();
            await subject.crash();
          },
        ),
      ),
    },
  ];
  if (duplicates)
    all.push({
      weight: 2,
      arbitrary: picks.map((pick) =>
        onOpened<H>(
          `close a duplicate of #${pick}`,
          pick,
          () => true,
          async (model, opened, subject, handle) => {
            const outcome = model.flush(opened);
            expect(await outcomeOf(subject.flush(handle))).toBe(outcome);
          },
        ),
      ),
    });
  return [fc.oneof(...all)];
}

function unlinkCommand<H>(path: string): Command<H> {
  // Without permission to remove, an open image is only refused at once where nothing may be about to replace it.
  const check = (model: Model) =>
    isLocal(model, path) && (model.allowDelete || !model.isOpen(path) || !model.hasClosed);
  return command(`unlink ${path}`, check, async (model, { subject }) => {
    const outcome = model.unlink(path);
    expect(await outcomeOf(subject.unlink(path))).toBe(outcome);
  });
}

function renameCommand<H>(from: string, to: string): Command<H> {
  const check = (model: Model) => {
    if (!isLocal(model, from)) return false;
    // A rename that fails after libfuse has hidden an open target: the target comes back or not, later.
    return !(model.isAway && model.isOpen(to)) && !isDoomed(model, from, to);
  };
  return command(`rename ${from} to ${to}`, check, async (model, { subject }) => {
    const outcome = model.rename(from, to);
    expect(await outcomeOf(subject.rename(from, to))).toBe(outcome);
  });
}

/** Would libfuse hide the open target, and the rename fail then? */
function isDoomed(model: Model, from: string, to: string): boolean {
  if (from === to || !model.isOpen(to) || model.content(from) === undefined) return false;
  const file = model.files.get(keyOf(from));
  const ofRegistry = file === undefined || file.state === 'pushed' || file.state === 'unchanged';
  if (keyOf(from) === keyOf(to)) return true;
  if (ofRegistry && (!model.allowDelete || from.endsWith('.tmp') || to.endsWith('.tmp'))) return true;
  return ofRegistry && model.isReadElsewhere(from);
}

function moveCommand<H>(path: string, which: number): Command<H> {
  const check = (model: Model) => !model.isAway && !model.files.has(keyOf(path));
  return command(`others move ${path} to image ${which}`, check, async (model, { subject }) => {
    const isRead = model.readers(path).length > 0;
    // While it is open its path stays at its revision: what others do is seen later.
    if (isRead) return;
    model.tags.set(keyOf(path), imageOf(which));
    await subject.moveTag(path, imageOf(which));
  });
}
