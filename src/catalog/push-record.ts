/** A push in the journal, and its form in the database. */
import type { ProcessId } from '../base/process.ts';

/**
 * staging: its file is being written. incomplete: closed before the image was whole. pushing: on its way.
 * kept: the push failed and will be tried again. refused: will not be tried again; nothing is staged, it is told once.
 */
export type PushPhase = 'staging' | 'incomplete' | 'pushing' | 'kept' | 'refused';

/** Sizes in bytes, times in milliseconds since the epoch. */
export interface PushRecord {
  readonly id: string;
  readonly backend: string;
  /** Within the backend's folder in the mount. */
  readonly path: string;
  readonly uri: string;
  readonly state: PushPhase;
  /** Sent so far. */
  readonly bytes: number;
  /** Of the staged file. */
  readonly size: number;
  /** Why it failed or was refused. */
  readonly error?: string | undefined;
  readonly hint?: string | undefined;
  /** Path of the staged file. */
  readonly staged?: string | undefined;
  readonly created: number;
  readonly updated: number;
  /** When its bytes were found whole and their first push began; undefined while they are being changed. */
  readonly closedAt?: number | undefined;
  /** Was a newer image pushed to its name? Then it is pushed only on request. */
  readonly superseded?: boolean | undefined;
  /** The process that works on it. */
  readonly owner: ProcessId;
  /** What the driver needs to resume an interrupted push: plain JSON. */
  readonly resume?: Readonly<Record<string, unknown>> | undefined;
  /** Metadata to store beside the image. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export type NewPush = Omit<PushRecord, 'id' | 'created' | 'updated'>;
export type PushChanges = Partial<NewPush>;

export const JOURNAL_SCHEMA = `
  CREATE TABLE pushes (
    id TEXT PRIMARY KEY,
    backend TEXT NOT NULL,
    path TEXT NOT NULL,
    uri TEXT NOT NULL,
    state TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    size INTEGER NOT NULL,
    error TEXT,
    hint TEXT,
    staged TEXT,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    start_time TEXT NOT NULL,
    resume TEXT,
    annotations TEXT
  ) STRICT;
  CREATE INDEX pushes_path ON pushes (backend, path);
`;

export const JOURNAL_CLOSED_SCHEMA = `
  ALTER TABLE pushes ADD COLUMN closed_at INTEGER;
  ALTER TABLE pushes ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
`;

export interface PushRow {
  readonly id: string;
  readonly backend: string;
  readonly path: string;
  readonly uri: string;
  readonly state: PushPhase;
  readonly bytes: number;
  readonly size: number;
  readonly error: string | null;
  readonly hint: string | null;
  readonly staged: string | null;
  readonly created: number;
  readonly updated: number;
  readonly pid: number;
  readonly start_time: string;
  readonly resume: string | null;
  readonly annotations: string | null;
  readonly closed_at: number | null;
  readonly superseded: 0 | 1;
}

export function toRow(record: PushRecord): PushRow {
  const { owner, error, hint, staged, closedAt, superseded, resume, annotations, ...plain } = record;
  return {
    ...plain,
    error: error ?? null,
    hint: hint ?? null,
    staged: staged ?? null,
    pid: owner.pid,
    start_time: owner.startTime,
    resume: resume === undefined ? null : JSON.stringify(resume),
    annotations: annotations === undefined ? null : JSON.stringify(annotations),
    closed_at: closedAt ?? null,
    superseded: superseded ? 1 : 0,
  };
}

export function fromRow(row: PushRow): PushRecord {
  const { pid, start_time, error, hint, staged, closed_at, superseded, resume, annotations, ...plain } = row;
  return {
    ...plain,
    error: error ?? undefined,
    hint: hint ?? undefined,
    staged: staged ?? undefined,
    owner: { pid, startTime: start_time },
    resume: resume === null ? undefined : JSON.parse(resume),
    annotations: annotations === null ? undefined : JSON.parse(annotations),
    closedAt: closed_at ?? undefined,
    superseded: superseded === 1 || undefined,
  };
}
