/** The time that a text gives (RFC 3339, RFC 9110); undefined for none, and for what gives none. */
export function parseDate(text: string | undefined): Date | undefined {
  const date = new Date(text ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
