/** Are two texts the same but for the case of their letters? */
export function sameInAnyCase(one: string, other: string): boolean {
  return one === other || one.toLowerCase() === other.toLowerCase();
}
