/**
 * What a driver says about one of its options, once. Flags, environment, secrets, prompts, redaction and docs derive from it, and
 * option-value.ts holds every value to it.
 */
export interface OptionSpec {
  /** Environment variables of the default instance, first match wins. Any instance also reads `SREGISTRY_<INSTANCE>_<OPTION>`. */
  readonly env?: string | readonly string[];
  readonly describe: string;
  /** A backend cannot be made without it. */
  readonly required?: boolean;
  /** Never printed, logged or listed. */
  readonly secret?: boolean;
  readonly default?: string;
  /** Default `string`. `integer` is not negative. */
  readonly type?: 'string' | 'boolean' | 'url' | 'path' | 'integer';
  /** What an integer counts: then it may be written with a unit, `16MiB` or `2m`. */
  readonly unit?: 'bytes' | 'seconds';
  /** The only values it may have. */
  readonly choices?: readonly string[];
  readonly example?: string;
}

export type OptionSchema = Readonly<Record<string, OptionSpec>>;

type OptionValue<O extends OptionSpec> = O extends { type: 'boolean' }
  ? boolean
  : O extends { type: 'integer' }
    ? number
    : O extends { choices: readonly (infer C)[] }
      ? C
      : string;

/**
 * The values of a schema's options for one instance: integers and booleans parsed, all else as given. An absent one is
 * undefined; a required one never is.
 */
export type OptionValues<S extends OptionSchema = OptionSchema> = {
  readonly [K in keyof S]: S[K] extends { required: true }
    ? OptionValue<S[K]>
    : OptionValue<S[K]> | undefined;
};
