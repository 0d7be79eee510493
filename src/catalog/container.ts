/** An image of the library: a row of `container` with its collection, and what its columns mean. */

import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';

export interface Container {
  /** Undefined if the library keeps no database. */
  readonly id: number | undefined;
  /** Its version is the one it is stored under: the service's, else the sha256 of the file. */
  readonly name: ImageName;
  readonly uri: string;
  /** Path of the image; undefined if only its address is known. */
  readonly file: string | undefined;
  /** Where it came from. */
  readonly url: string | undefined;
  /** The backend it was pulled with. */
  readonly client: string;
  /** What was known of it when it was added: names, labels, the service's manifest. */
  readonly metrics: Readonly<Record<string, unknown>>;
  /** When it was added last. */
  readonly created: Date | undefined;
}

/** The columns of a joined row, `collection` being the collection's name. */
export interface ContainerRow {
  readonly id: number;
  readonly created_at: string | null;
  readonly metrics: string;
  readonly name: string;
  readonly tag: string;
  readonly image: string | null;
  readonly url: string | null;
  readonly uri: string | null;
  readonly client: string;
  readonly version: string | null;
  readonly collection_id: number;
  readonly collection: string;
}

/** A row as the Python client's `inspect` prints it: its columns, `metrics` parsed. */
export type ContainerFields = Omit<ContainerRow, 'metrics'> & {
  readonly metrics: Readonly<Record<string, unknown>>;
};

export function fromRow(row: ContainerRow): Container {
  const name: ImageName = {
    registry: registryOf(row),
    collection: row.collection,
    image: row.name,
    tag: row.tag,
    version: row.version || undefined,
  };
  return {
    id: row.id,
    name,
    uri: row.uri ?? formatImageName(name),
    file: row.image || undefined,
    url: row.url ?? undefined,
    client: row.client,
    metrics: parseMetrics(row.metrics),
    created: parseTime(row.created_at),
  };
}

export function toFields(row: ContainerRow): ContainerFields {
  return { ...row, metrics: parseMetrics(row.metrics) };
}

/** The table has no column for the registry. The URI has it in front of the collection. */
function registryOf({ uri, collection, name }: ContainerRow): string | undefined {
  const end = uri?.indexOf(`/${collection}/${name}:`) ?? -1;
  return end > 0 ? uri?.slice(0, end) : undefined;
}

function parseMetrics(text: string): Record<string, unknown> {
  try {
    const metrics: unknown = JSON.parse(text);
    return typeof metrics === 'object' && metrics !== null ? { ...metrics } : {};
  } catch {
    return {};
  }
}

/** SQLAlchemy's text form of a DateTime on SQLite, in UTC: `YYYY-MM-DD HH:MM:SS.ffffff`. */
export function formatTime(time: Date): string {
  return time.toISOString().replace('T', ' ').replace('Z', '000');
}

/** SQLite's CURRENT_TIMESTAMP writes no fraction. */
export function parseTime(text: string | null): Date | undefined {
  if (text === null) return undefined;
  const time = new Date(`${text.replace(' ', 'T')}Z`);
  return Number.isNaN(time.getTime()) ? undefined : time;
}
