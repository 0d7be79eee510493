/** Checks the arguments of callers without TypeScript. Otherwise an object would become the text "[object Object]". */

/** Throws a TypeError with the function's signature unless every value is text. The keys are the names of the parameters. */
export function requireTexts(signature: string, values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (typeof value !== 'string')
      throw new TypeError(`${signature}: ${name} must be text, not ${kindOf(value)}`);
  }
}

/** Throws a TypeError with the function's signature unless the value is an object, not an array. */
export function requireObject(signature: string, name: string, value: unknown): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new TypeError(`${signature}: ${name} must be an object, not ${kindOf(value)}`);
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
