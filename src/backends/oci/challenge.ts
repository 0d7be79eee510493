/** `WWW-Authenticate` headers (RFC 9110 section 11.6.1), which may hold several challenges in one value. */

export interface Challenge {
  /** Lower-case: `basic`, `bearer`. */
  readonly scheme: string;
  /** Lower-case names. */
  readonly parameters: Readonly<Record<string, string>>;
}

const TCHAR = "[!#$%&'*+.^_`|~0-9A-Za-z-]";
const TOKEN = `${TCHAR}+`;
/** A parameter, or a scheme with an optional token68; commas and blanks before either. */
const ITEM = new RegExp(
  `[\\s,]*(?:(?<name>${TOKEN})\\s*=\\s*(?:"(?<quoted>(?:[^"\\\\]|\\\\.)*)"|(?<plain>${TOKEN}))` +
    `|(?<scheme>${TOKEN})(?!${TCHAR}|\\s*=)(?:\\s+[0-9A-Za-z._~+/-]+=*(?=\\s*(?:,|$)))?)`,
  'y',
);

/** The challenges in order. Omits what follows a syntax error. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  ITEM.lastIndex = 0;
  for (let item = ITEM.exec(header); item !== null; item = ITEM.exec(header)) {
    const { name, quoted, plain, scheme } = item.groups ?? {};
    if (scheme !== undefined) challenges.push({ scheme: scheme.toLowerCase(), parameters: {} });
    const parameters = challenges.at(-1)?.parameters;
    if (name !== undefined && parameters !== undefined)
      parameters[name.toLowerCase()] = plain ?? quoted?.replace(/\\(.)/g, '$1') ?? '';
  }
  return challenges;
}
