/** Names of options in the environment and in the secrets file. */

/** `secretAccessKey`, `secret-access-key` and `SECRET_ACCESS_KEY` are one name: `SECRET_ACCESS_KEY`. */
export function upperSnake(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9]+/g, '_')
    .toUpperCase();
}

/** The Python client's convention `SREGISTRY_<CLIENT>_<VARIABLE>`. */
export function variableOf(instance: string, option: string): string {
  return `SREGISTRY_${upperSnake(instance)}_${upperSnake(option)}`;
}
