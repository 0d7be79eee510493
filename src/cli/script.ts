/**
 * Runs scripts from stdin as ES modules of the working directory. In them, `import ... from 'sregistry'` gives this library.
 */
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';
import { entryModule } from '../base/package.ts';

/** This copy of the library. */
const LIBRARY = entryModule('client/index').href;

/** Resolves when the script has run to its end. Throws what it throws. A syntax error has its position, if that is known. */
export async function runScript(source: string): Promise<void> {
  const url = pathToFileURL(join(process.cwd(), 'stdin')).href;
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (specifier === url) return { url, format: 'module', shortCircuit: true };
      return next(specifier === 'sregistry' ? LIBRARY : specifier, context);
    },
    load: (target, context, next) =>
      target === url ? { format: 'module', source, shortCircuit: true } : next(target, context),
  });
  try {
    await import(url);
  } catch (error) {
    throw error instanceof SyntaxError ? located(error, source) : error;
  } finally {
    hooks.deregister();
  }
}

/**
 * Finds the position of a syntax error. Node tells it for a script, not for a module, so the text is parsed as a script and not
 * run.
 */
function located(error: SyntaxError, source: string): unknown {
  const opening = 'async () => {';
  try {
    new Script(`${opening}${source}\n}`, { filename: 'stdin', columnOffset: -opening.length });
  } catch (found) {
    if ((found as Error).message === error.message) return found;
  }
  return error;
}
