/** Parses a time (RFC 3339, RFC 9110). Undefined for no text, and for a text that is not a time. */
export function parseDate(text: string | undefined): Date | undefined {
  const date = new Date(text ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
