/** Checks of this machine, as `sregistry doctor` runs them. */
import { describeError, isError } from './errors.ts';

export interface Check {
  readonly name: string;
  /** Does sregistry, or the checked feature, fail to work without it? */
  readonly required: boolean;
  /** Returns what was found. Throws an error for what is wrong, with the command that fixes it as its hint. */
  run(signal?: AbortSignal): Promise<string>;
}

export interface Finding {
  readonly name: string;
  readonly required: boolean;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do about it. */
  readonly fix?: string;
}

export async function runCheck({ name, required, run }: Check, signal?: AbortSignal): Promise<Finding> {
  try {
    return { name, required, ok: true, detail: await run(signal) };
  } catch (error) {
    const fix = isError(error) ? error.hint : undefined;
    return { name, required, ok: false, detail: describeError(error), ...(fix !== undefined && { fix }) };
  }
}
