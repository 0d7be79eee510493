/** The option of drivers of OCI registries that says which SOCI indexes count (docs/layers.md). */
export const SOCI_OPTION = {
  describe:
    'Which SOCI indexes to believe: those that images name themselves (annotation), also those that refer to images from outside (referrers), or none (off)',
  choices: ['annotation', 'referrers', 'off'],
  default: 'annotation',
} as const;

export type SociChoice = (typeof SOCI_OPTION.choices)[number];
