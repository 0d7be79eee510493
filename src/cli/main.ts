/** The command line: parses `argv` (without node and script), runs one command, answers the exit code. */
export async function main(argv: string[]): Promise<number> {
  console.error(`sregistry: no such command: ${argv.join(' ')}`);
  return 2;
}
