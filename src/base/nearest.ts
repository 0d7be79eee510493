import { closestMatch } from 'leven';

/** The candidate that a misspelt `word` most probably means, in any case; undefined if none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const folded = word.toLowerCase();
  const maxDistance = Math.ceil(word.length / 3);
  const match = closestMatch(
    folded,
    candidates.map((candidate) => candidate.toLowerCase()),
    { maxDistance },
  );
  return candidates.find((candidate) => candidate.toLowerCase() === match);
}
