/** Refusals as Dropbox writes them: a summary, and the same as nested tags. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: string;

  constructor(status: number, body: string | object) {
    super(typeof body === 'string' ? body : JSON.stringify(body));
    this.status = status;
    this.body = this.message;
  }
}

/** 400: a request that is no valid call; plain text. */
export const badRequest = (why: string) => new Refusal(400, `Error in call to API function: ${why}`);

/** 409: `path/not_found` becomes `{".tag": "path", "path": {".tag": "not_found"}}`. `more` stands beside the innermost tag. */
export function refused(summary: string, more: object = {}): Refusal {
  const nest = ([tag = '', ...rest]: string[]): object =>
    rest.length === 0 ? { '.tag': tag, ...more } : { '.tag': tag, [tag]: nest(rest) };
  return new Refusal(409, { error_summary: `${summary}/${'.'.repeat(3)}`, error: nest(summary.split('/')) });
}
