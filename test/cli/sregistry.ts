/** The command line from its sources, as `bin/sregistry.js` starts it. */
import { main } from '../../src/cli/main.ts';

process.exitCode = await main(process.argv.slice(2));
