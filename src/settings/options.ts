/** What a driver says about one of its options, once; flags, environment, secrets, prompts, redaction and docs derive from it. */
export interface OptionSpec {
  /** Environment variables of the default instance, first match wins. Any instance also reads `SREGISTRY_<INSTANCE>_<OPTION>`. */
  readonly env?: string | readonly string[];
  readonly describe: string;
  readonly required?: boolean;
  /** Never printed, logged or listed. */
  readonly secret?: boolean;
  readonly default?: string;
  readonly type?: 'string' | 'boolean' | 'url' | 'path';
  readonly example?: string;
}

export type OptionSchema = Readonly<Record<string, OptionSpec>>;

/** The values of a schema's options for one instance: strings as given, booleans parsed; absent ones undefined. */
export type OptionValues<S extends OptionSchema = OptionSchema> = {
  readonly [K in keyof S]: (S[K] extends { type: 'boolean' } ? boolean : string) | undefined;
};
