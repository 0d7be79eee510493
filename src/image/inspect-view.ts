/** Parts of an inspection, chosen and printed as the flags of `apptainer inspect` do (cmd/internal/cli/inspect.go). */
import { SregistryError } from '../base/errors.ts';
import { type AppAttributes, type Attributes, toAttributes } from './attributes.ts';

export interface Selection {
  /** Each names a flag (`apps` is `--list-apps`, `helpfile` `--helpfile`, ...); none means `labels`. */
  readonly sections: readonly (keyof Attributes)[];
  /** Show the parts of this app instead of the container's. Both share one definition file. */
  readonly app?: string | undefined;
}

/**
 * The chosen attributes: the answer with `--json`.
 *
 * @throws {SregistryError} NOT_FOUND if the image has no such app.
 */
export function selectAttributes(attributes: Attributes, { sections, app }: Selection): Attributes {
  const chosen: readonly string[] = sections.length === 0 ? ['labels'] : sections;
  const pick = (from: object) =>
    Object.fromEntries(Object.entries(from).filter(([name]) => chosen.includes(name)));
  if (app === undefined) return toAttributes(pick(attributes));
  const apps = chosen.includes('apps') ? attributes.apps : { [app]: pick(findApp(attributes, app)) };
  return toAttributes({ ...pick({ deffile: attributes.deffile }), apps });
}

/** The chosen attributes as text, in Apptainer's order; ends with a newline unless there is nothing. */
export function formatAttributes(attributes: Attributes, selection: Selection): string {
  const selected = selectAttributes(attributes, selection);
  const app: AppAttributes = selection.app === undefined ? {} : (selected.apps?.[selection.app] ?? {});
  const shown: Attributes = { ...app, ...selected };
  const names = selection.sections.includes('apps') ? Object.keys(shown.apps ?? {}) : [];
  const scripts = [shown.deffile, shown.runscript, shown.startscript, shown.test, shown.helpfile];
  const environment = Object.entries(shown.environment ?? {});
  const labels = Object.entries(shown.labels ?? {});
  return [
    ...names,
    ...scripts.filter((script) => script !== undefined),
    ...environment.map(([path, text]) => `=== ${path} ===\n${text}\n`),
    ...labels.map(([key, value]) => `${key}: ${value}`),
  ]
    .map((part) => `${part}\n`)
    .join('');
}

function findApp({ apps = {} }: Attributes, name: string): AppAttributes {
  const app = Object.hasOwn(apps, name) ? apps[name] : undefined;
  if (app !== undefined) return app;
  const known = Object.keys(apps);
  throw new SregistryError('NOT_FOUND', `The image has no app ${name}`, {
    hint: known.length === 0 ? 'It has no apps at all' : `It has ${known.join(', ')}`,
  });
}
