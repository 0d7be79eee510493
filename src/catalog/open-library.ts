import { DisabledLibrary } from './disabled-library.ts';
import type { Library, LibraryOptions } from './library.ts';
import { SqliteLibrary } from './sqlite-library.ts';

/** Touches no file before the first call of a method. */
export function openLibrary(options: LibraryOptions): Library {
  return options.disabled === true ? new DisabledLibrary() : new SqliteLibrary(options);
}
