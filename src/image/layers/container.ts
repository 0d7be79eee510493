/**
 * What Apptainer adds to the root of a Docker image when it makes a container of it
 * (internal/pkg/build/sources/base_environment.go and conveyorPacker_oci.go): scripts, labels, links, and the places that it
 * mounts over at run time. Apptainer keeps the image's working directory out of the root file system, and so do we.
 */
import { type Attributes, bytesPiece, type FileNode } from '../squashfs/nodes.ts';
import type { LayerTree } from './merge.ts';
import { type ContainerConfig, environmentScript, FIXED_SCRIPTS, runscript } from './scripts.ts';

const FOLDER = '.singularity.d';
const DIRECTORIES = ['libs', 'actions', 'env'].map((name) => `${FOLDER}/${name}`);
const MOUNT_POINTS = ['dev', 'proc', 'root', 'var/tmp', 'tmp', 'etc', 'sys', 'home'];
/** Apptainer mounts the host's over these, and empties what the image has. */
const HOST_FILES = ['etc/hosts', 'etc/resolv.conf'];
const LINKS: Readonly<Record<string, string>> = {
  singularity: `${FOLDER}/runscript`,
  '.run': `${FOLDER}/actions/run`,
  '.exec': `${FOLDER}/actions/exec`,
  '.test': `${FOLDER}/actions/test`,
  '.shell': `${FOLDER}/actions/shell`,
  environment: `${FOLDER}/env/90-environment.sh`,
};

export interface ContainerOptions {
  /** Seconds since 1970, of everything added. */
  readonly modified: number;
  /** As Go names it: `amd64`. */
  readonly architecture: string;
  /**
   * What the container is made from, without `docker://`: `python:3.12`. For its definition file and labels; without it the
   * root is the same for every name of an image.
   */
  readonly from?: string | undefined;
}

/** Adds Apptainer's files to a tree. Symbolic links of the image are followed inside the root only. */
export function addContainerFiles(tree: LayerTree, config: ContainerConfig, options: ContainerOptions): void {
  const { modified, from } = options;
  tree.root.mode |= 0o200;
  for (const path of [...DIRECTORIES, ...MOUNT_POINTS])
    if (tree.find(path) === undefined) tree.makeDirectory(path, modified);
  for (const [path, target] of Object.entries(LINKS)) {
    const existing = tree.find(path);
    // A file or directory of this name is the image's own business.
    if (existing !== undefined && existing.type !== 'symlink') continue;
    tree.put(path, { type: 'symlink', ...owned(0o777, modified), target });
  }
  const write = (path: string, mode: number, text: string) => writeFile(tree, path, mode, text, modified);
  for (const path of HOST_FILES) write(path, 0o644, '');
  for (const [path, text] of Object.entries(FIXED_SCRIPTS)) write(`${FOLDER}/${path}`, 0o755, text);
  write(`${FOLDER}/runscript`, 0o755, runscript(config.Entrypoint ?? [], config.Cmd ?? []));
  write(`${FOLDER}/env/10-docker2singularity.sh`, 0o755, environmentScript(config.Env ?? []));
  write(`${FOLDER}/labels.json`, 0o644, JSON.stringify(labels(config, options), undefined, '\t'));
  write(`${FOLDER}/Singularity`, 0o644, definition(from));
}

/** The definition file that `apptainer pull docker://` writes, which names no source where none is known. */
function definition(from: string | undefined): string {
  return `bootstrap: docker\n${from === undefined ? '' : `from: ${from}\n`}\n`;
}

function labels({ Labels }: ContainerConfig, { modified, architecture, from }: ContainerOptions) {
  const all: Record<string, string> = {
    ...Labels,
    'org.label-schema.build-arch': architecture,
    'org.label-schema.build-date': buildDate(modified),
    'org.label-schema.schema-version': '1.0',
    'org.label-schema.usage.singularity.deffile.bootstrap': 'docker',
    ...(from !== undefined && { 'org.label-schema.usage.singularity.deffile.from': from }),
  };
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** As Apptainer writes dates: `Saturday_28_November_2026_19:26:4_UTC`. */
function buildDate(seconds: number): string {
  const date = new Date(seconds * 1000);
  const part = (options: Intl.DateTimeFormatOptions) =>
    date.toLocaleString('en', { timeZone: 'UTC', ...options });
  const [day, month, year] = [date.getUTCDate(), part({ month: 'long' }), date.getUTCFullYear()];
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].join(':');
  return `${part({ weekday: 'long' })}_${day}_${month}_${year}_${time}_UTC`;
}

/** A file that is there keeps its owner and its other names, as if it was written on a disk. */
function writeFile(tree: LayerTree, path: string, mode: number, text: string, modified: number): void {
  const bytes = Buffer.from(text);
  const pieces = bytes.length === 0 ? [] : [bytesPiece(bytes)];
  const existing = tree.find(path, 'follow');
  if (existing?.type === 'directory') return;
  if (existing?.type === 'file') Object.assign(existing, { mode, pieces, modified });
  else tree.put(path, { type: 'file', ...owned(mode, modified), pieces } satisfies FileNode);
}

function owned(mode: number, modified: number): Attributes {
  return { mode, uid: 0, gid: 0, modified };
}
