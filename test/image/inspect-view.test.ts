import { expect, it } from 'vitest';
import type { Attributes } from '../../src/image/attributes.ts';
import { inspect } from '../../src/image/inspect.ts';
import { formatAttributes, type Selection, selectAttributes } from '../../src/image/inspect-view.ts';
import { bytesSource } from '../../src/image/source.ts';
import { fixture } from './fixtures.ts';

/** What `apptainer inspect FLAGS` printed for small-gzip.sif. */
const RECORDED = JSON.parse(Buffer.from(fixture('small-gzip.inspect-flags.json')).toString()) as Record<
  string,
  string
>;
const { data } = await inspect(bytesSource(fixture('small-gzip.sif')));

function selection(flags: string): Selection {
  const sections = flags.match(/--(?!json|app )[\w-]+/g) ?? [];
  return {
    sections: sections.map((flag) => (flag === '--list-apps' ? 'apps' : (flag.slice(2) as keyof Attributes))),
    app: /--app (\w+)/.exec(flags)?.[1],
  };
}

it.each(Object.keys(RECORDED).filter((flags) => flags !== '--app nothing'))(
  'inspect %s shows what Apptainer shows',
  (flags) => {
    if (flags.startsWith('--json'))
      expect({
        data: { attributes: selectAttributes(data.attributes, selection(flags)) },
        type: 'container',
      }).toEqual(JSON.parse(RECORDED[flags] as string));
    else expect(formatAttributes(data.attributes, selection(flags))).toBe(RECORDED[flags]);
  },
);

it('an app that is not there is an error that names those that are', () => {
  for (const app of ['nothing', 'constructor'])
    expect(() => selectAttributes(data.attributes, { sections: [], app })).toThrow(
      expect.objectContaining({ code: 'NOT_FOUND', hint: 'It has bar, foo' }),
    );
});
