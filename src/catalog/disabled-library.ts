import { SregistryError } from '../base/errors.ts';
import { formatImageName } from '../image/names.ts';
import type { Container } from './container.ts';
import type { Addition, Library } from './library.ts';

/** The library of a user who has disabled it: images stay where they are, and none can be found. */
export class DisabledLibrary implements Library {
  async add({ name, file, url, client, metrics = {} }: Addition): Promise<Container> {
    const uri = formatImageName(name);
    return { id: undefined, name, uri, file, url, client, metrics, created: undefined };
  }

  get = () => needsDatabase('get');
  images = () => needsDatabase('images');
  inspect = () => needsDatabase('inspect');
  mv = async () => needsDatabase('mv');
  rename = async () => needsDatabase('rename');
  rm = async () => needsDatabase('rm');
  labels = () => needsDatabase('labels');

  findByDigest(): undefined {}

  digestOf(): undefined {}

  close(): void {}
}

function needsDatabase(command: string): never {
  throw new SregistryError('UNSUPPORTED', `${command} requires the database, which is disabled`, {
    hint: 'Unset SREGISTRY_DISABLE and SINGULARITY_DISABLE_CACHE',
  });
}
