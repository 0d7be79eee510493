/** A form with fields and one file (RFC 7578), sent with its length: not every server takes a form of unknown length. */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { Progress } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import type { Headers } from '../http.ts';

export interface FormFile {
  /** Name of the form's field. */
  readonly field: string;
  /** Name of the file. */
  readonly name: string;
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

export interface FormBody {
  readonly headers: Headers;
  readonly body: () => Readable;
}

/** `progress` gets the position in the file. */
export function formBody(
  fields: Readonly<Record<string, string>>,
  file: FormFile,
  progress?: Progress,
): FormBody {
  const boundary = `sregistry-${randomUUID()}`;
  const part = (disposition: string, type = '') =>
    `--${boundary}\r\nContent-Disposition: form-data; ${disposition}\r\n${type}\r\n`;
  const before = Object.entries(fields).map(
    ([name, value]) => `${part(`name="${escaped(name)}"`)}${value}\r\n`,
  );
  const disposition = `name="${escaped(file.field)}"; filename="${escaped(file.name)}"`;
  const head = Buffer.from(
    `${before.join('')}${part(disposition, 'Content-Type: application/octet-stream\r\n')}`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const content = fileBody(file, progress);
  async function* chunks() {
    yield head;
    yield* content();
    yield tail;
  }
  return {
    headers: {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': String(head.length + file.size + tail.length),
    },
    body: () => Readable.from(chunks(), { objectMode: false }),
  };
}

/** As browsers escape them (HTML, "multipart/form-data"). */
const escaped = (text: string) =>
  text.replace(/["\r\n]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
