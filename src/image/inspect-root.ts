/**
 * The facts of a container as files in its root: `/.singularity.d` for the container, `/scif/apps/NAME/scif` for each
 * app. Apptainer runs a shell in the container to collect the same files (cmd/internal/cli/inspect.go).
 */
import { type AppAttributes, type Attributes, toAttributes } from './attributes.ts';
import { malformed } from './binary.ts';

const CONTAINER = '/.singularity.d';
const APPS = '/scif/apps';
/** Bytes of one file at most: people write scripts, labels and definition files. */
const MAX_FILE = 1024 * 1024;
/** Bytes of all files together; this also bounds the number of apps and scripts. */
const MAX_TOTAL = 16 * 1024 * 1024;
/** What each file counts for in addition to its bytes. */
const FILE_COST = 4096;

/** A file system, as far as it is read here. Paths are absolute, and symbolic links are followed. */
export interface Root {
  readonly stat: (path: string) => Promise<{ readonly type: string } | undefined>;
  readonly list: (path: string) => Promise<readonly string[] | undefined>;
  /** Throws NOT_AN_IMAGE if the file has more than `limit` bytes. */
  readonly readFile: (path: string, limit: number) => Promise<Uint8Array | undefined>;
}

/** @throws {SregistryError} NOT_AN_IMAGE if the file system is damaged or its files are impossibly large. */
export async function inspectRoot(root: Root): Promise<Attributes> {
  const read = boundedReader(root);
  const apps: [name: string, app: AppAttributes][] = [];
  for (const name of await visible(root, APPS)) {
    const folder = `${APPS}/${name}/scif`;
    if ((await root.stat(folder))?.type !== 'directory') continue;
    apps.push([name, await describeFolder(root, read, folder, [/^9.*-environment\.sh$/])]);
  }
  return toAttributes({
    ...(await describeFolder(root, read, CONTAINER, [/^10-docker.*\.sh$/, /^9.*-environment\.sh$/])),
    apps: Object.fromEntries(apps),
    deffile: await read(`${CONTAINER}/Singularity`),
    startscript: await read(`${CONTAINER}/startscript`),
  });
}

type ReadText = (path: string) => Promise<string | undefined>;

async function describeFolder(
  root: Root,
  read: ReadText,
  folder: string,
  scripts: readonly RegExp[],
): Promise<AppAttributes> {
  const environment: Record<string, string> = {};
  for (const name of await visible(root, `${folder}/env`)) {
    if (!scripts.some((pattern) => pattern.test(name))) continue;
    const path = `${folder}/env/${name}`;
    environment[path] = (await read(path)) ?? '';
  }
  return {
    environment,
    labels: parseLabels(await read(`${folder}/labels.json`)),
    runscript: await read(`${folder}/runscript`),
    test: await read(`${folder}/test`),
    helpfile: await read(`${folder}/runscript.help`),
  };
}

/** Reads texts without their trailing newlines, until there have been too many. */
function boundedReader(root: Root): ReadText {
  let left = MAX_TOTAL;
  return async (path) => {
    const bytes = await root.readFile(path, MAX_FILE);
    left -= FILE_COST + (bytes?.length ?? 0);
    if (left < 0) throw malformed(`The image describes itself in more than ${MAX_TOTAL} bytes`);
    return bytes === undefined ? undefined : trimNewlines(Buffer.from(bytes).toString());
  };
}

function trimNewlines(text: string): string {
  let end = text.length;
  while (text[end - 1] === '\n') end--;
  return text.slice(0, end);
}

/** Names in a directory, sorted, without the hidden ones: what a shell's `*` matches. */
async function visible(root: Root, path: string): Promise<string[]> {
  const names = (await root.list(path)) ?? [];
  return names.filter((name) => !name.startsWith('.')).sort();
}

function parseLabels(text: string | undefined): Record<string, string> {
  if (text === undefined) return {};
  try {
    return JSON.parse(text) as Record<string, string>;
  } catch {
    return {};
  }
}
