/** The schema of state.db as numbered migrations. Append only: a released migration never changes. */
import { CACHE_CHECKSUMS_SCHEMA, CACHE_SCHEMA } from './cache-tables.ts';
import { LAYER_USES_SCHEMA } from './layer-uses.ts';
import { LAYER_SPANS_SCHEMA, LAYER_TABLES_SCHEMA, LAYERS_SCHEMA } from './layers.ts';
import { LISTINGS_SCHEMA } from './listings.ts';
import { JOURNAL_CLOSED_SCHEMA, JOURNAL_SCHEMA } from './push-record.ts';
import { REMOTES_SCHEMA } from './remotes.ts';
import { TEXT_INDEX_SCHEMA } from './text-index.ts';
import { TRACES_SCHEMA } from './traces.ts';

export const STATE_MIGRATIONS: readonly string[] = [
  LISTINGS_SCHEMA + REMOTES_SCHEMA + JOURNAL_SCHEMA,
  CACHE_SCHEMA,
  TEXT_INDEX_SCHEMA,
  CACHE_CHECKSUMS_SCHEMA,
  JOURNAL_CLOSED_SCHEMA,
  LAYERS_SCHEMA,
  LAYER_TABLES_SCHEMA,
  LAYER_SPANS_SCHEMA,
  LAYER_USES_SCHEMA,
  TRACES_SCHEMA,
];
