/**
 * The declaration of one option of a driver. Flags, environment variables, secrets, prompts, redaction and docs all derive from it.
 * option-value.ts checks every value against it.
 */
export interface OptionSpec {
  /** Environment variables of the default instance; the first that is set wins. Every instance also reads `SREGISTRY_<INSTANCE>_<OPTION>`. */
  readonly env?: string | readonly string[];
  readonly describe: string;
  /** A backend cannot be created without this option. */
  readonly required?: boolean;
  /** In the environment, it shows that the default instance is in use, for a driver without required options. */
  readonly suffices?: boolean;
  /** Never printed, logged or listed. */
  readonly secret?: boolean;
  readonly default?: string;
  /** False for a secret that `auth login` does not ask for, as it belongs to another kind of login or to none. */
  readonly asked?: boolean;
  /**
   * Default `string`. An `integer` must not be negative. The value of `json` is the text of an object, that of `architecture` is in
   * Go's form: `amd64`, `arm/v7`.
   */
  readonly type?: 'string' | 'boolean' | 'url' | 'path' | 'integer' | 'json' | 'architecture';
  /** Unit of an integer. Its value may then have a suffix: `16MiB`, `2m`. */
  readonly unit?: 'bytes' | 'seconds';
  /** The allowed values. */
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
 * The values of a schema's options for one instance. Integers and booleans are parsed, all others are text. An option without a value
 * is undefined; a required option always has one.
 */
export type OptionValues<S extends OptionSchema = OptionSchema> = {
  readonly [K in keyof S]: S[K] extends { required: true }
    ? OptionValue<S[K]>
    : OptionValue<S[K]> | undefined;
};
