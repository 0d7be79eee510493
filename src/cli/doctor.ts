import { type Finding, runCheck } from '../base/check.ts';
import { backendChecks, dependencyChecks, machineChecks } from '../client/doctor.ts';
import { mountChecks } from '../fs/checks.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';

export default defineCommand({
  build: (yargs) => yargs.options(JSON_OPTION),
  examples: [
    ['sregistry doctor', 'What is missing here?'],
    ['sregistry doctor --json', 'The same for programs'],
  ],

  async run({ json }, { env, signal }) {
    const checks = [
      ...machineChecks(env),
      ...mountChecks(env),
      ...(await dependencyChecks(env)),
      ...(await backendChecks(env)),
    ];
    const findings = await Promise.all(checks.map((check) => runCheck(check, signal)));
    if (json) printJson(findings);
    else print(findings);
    return findings.some(({ ok, required }) => !ok && required) ? 1 : 0;
  },
});

function print(findings: readonly Finding[]): void {
  bot.table(
    findings.map((finding) => [wordOf(finding), finding.name, finding.detail]),
    { numbered: false },
  );
  const fixes = findings.filter(({ ok, fix }) => !ok && fix !== undefined);
  if (fixes.length > 0) bot.data(['', ...fixes.map(({ name, fix }) => `${name}: ${fix}`)].join('\n'));
}

function wordOf({ ok, required }: Finding): string {
  if (ok) return 'ok';
  return required ? 'MISSING' : 'note';
}
