const TRUE = /^(?:yes|true|t|1|y|on)$/i;
const FALSE = /^(?:no|false|f|0|n|off)$/i;

/** Parses yes and no: `yes true t 1 y on`, `no false f 0 n off`, in any case. Undefined for any other text. */
export function parseBoolean(text: string): boolean | undefined {
  if (TRUE.test(text.trim())) return true;
  if (FALSE.test(text.trim())) return false;
  return undefined;
}
