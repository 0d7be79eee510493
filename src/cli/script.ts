/** Scripts from stdin, as ES modules of the working directory in which `import ... from 'sregistry'` is this library. */
import { registerHooks } from 'node:module';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';

/** This copy of the library: `.ts` in src, `.js` in dist. */
const LIBRARY = new URL(`../client/index${extname(import.meta.url)}`, import.meta.url).href;

/** Resolves when the script has run to its end. Throws what it throws; a syntax error says where it is, if that can be told. */
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

/** Node tells the place of a syntax error in a script, not in a module: the same text is read as one, and never run. */
function located(error: SyntaxError, source: string): unknown {
  const opening = 'async () => {';
  try {
    new Script(`${opening}${source}\n}`, { filename: 'stdin', columnOffset: -opening.length });
  } catch (found) {
    if ((found as Error).message === error.message) return found;
  }
  return error;
}
