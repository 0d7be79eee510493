/** What a run did, for the line and the JSON at its end. */
import type { FaultKind } from './faults.ts';

export interface Violation {
  /** The promise that was broken, in a word or two. */
  readonly kind: string;
  readonly round: number;
  readonly detail: string;
  /** ISO 8601. */
  readonly at: string;
}

export class Counters {
  rounds = 0;
  /** By who was hit and by which signal: `mount SIGKILL`. */
  readonly kills: Record<string, number> = {};
  requests = 0;
  readonly faults: Partial<Record<FaultKind, number>> = {};
  readonly reads = { opens: 0, count: 0, bytes: 0, whole: 0 };
  /** What reads and looks failed with. */
  readonly readErrors: Record<string, number> = {};
  readonly writes = { begun: 0, done: 0, failed: 0, killed: 0, readBack: 0 };
  /** Tags changed past the mounts. */
  moves = 0;
  /** Writes that were not acknowledged, and in the registry when everything had settled. */
  pushedLater = 0;
  /** What `sregistry status` listed at the end of rounds, by state. */
  readonly listed: Record<string, number> = {};
  /** What was read of files that were being written, and is not judged. */
  unjudged = 0;
  /** What was not done, by reason. */
  readonly skipped: Record<string, number> = {};
  readonly violations: Violation[] = [];

  get killCount(): number {
    return sum(this.kills);
  }

  get faultCount(): number {
    return sum(this.faults);
  }

  line(): string {
    const { rounds, requests, reads, writes, moves, violations } = this;
    const perKey = (counts: object) =>
      Object.entries(counts)
        .map(([key, count]) => `${key} ${count}`)
        .join(', ');
    return [
      `${rounds} rounds`,
      `${this.killCount} kills (${perKey(this.kills)})`,
      `${this.faultCount} of ${requests} requests with a fault (${perKey(this.faults)})`,
      `${reads.count} reads compared, ${Math.round(reads.bytes / 1e6)} MB, ${reads.whole} whole images`,
      `${writes.begun} writes, ${writes.done} acknowledged, ${writes.readBack} read back, ${this.pushedLater} pushed later`,
      `${moves} tags moved`,
      ...(Object.keys(this.skipped).length > 0 ? [`skipped: ${perKey(this.skipped)}`] : []),
      `${violations.length} violations`,
    ].join('; ');
  }

  toJSON(): object {
    const { kills, faults, violations } = this;
    return {
      rounds: this.rounds,
      kills: { total: this.killCount, ...kills },
      requests: this.requests,
      faults: { total: this.faultCount, ...faults },
      reads: this.reads,
      readErrors: this.readErrors,
      writes: this.writes,
      moves: this.moves,
      pushedLater: this.pushedLater,
      listed: this.listed,
      unjudged: this.unjudged,
      skipped: this.skipped,
      violations,
    };
  }
}

export function add(counts: Record<string, number>, key: string, by = 1): void {
  counts[key] = (counts[key] ?? 0) + by;
}

function sum(counts: Partial<Record<string, number>>): number {
  return Object.values(counts).reduce<number>((total, count) => total + (count ?? 0), 0);
}
