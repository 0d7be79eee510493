/** The licences of the packages that a build or an installation contains, as one text. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The folder of the package that a module belongs to: what follows the last `node_modules/` of its path. */
export function packageOf(module: string): string | undefined {
  return /^(\/.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(module)?.[1];
}

const LICENCE_FILE = /^(?:licen[cs]e|copying|notice)(?:[-.].*)?$/i;

/** @param folders of packages. Throws if one names no licence. */
export function licences(folders: Iterable<string>): string {
  const parts = [...folders].map(licenceOf).sort(({ title: a }, { title: b }) => a.localeCompare(b, 'en'));
  return parts.map(({ title, text }) => `${'='.repeat(78)}\n${title}\n\n${text}\n`).join('\n');
}

function licenceOf(folder: string): { title: string; text: string } {
  const { name, version, license, author, homepage, repository } = JSON.parse(
    readFileSync(join(folder, 'package.json'), 'utf8'),
  );
  const kind = typeof license === 'string' ? license : license?.type;
  if (kind === undefined) throw new Error(`${folder}/package.json names no licence`);
  const texts = readdirSync(folder)
    .filter((file) => LICENCE_FILE.test(file))
    .map((file) => readFileSync(join(folder, file), 'utf8').trim());
  const holder = [author?.name ?? author, homepage ?? repository?.url ?? repository]
    .filter(Boolean)
    .join(', ');
  return { title: `${name} ${version} (${kind})`, text: texts.join('\n\n') || holder };
}
