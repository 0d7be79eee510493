import { createLayout } from '../kit/layout.ts';

export { identityOf, isVisible, type KeyParts, prefixOf } from '../kit/layout.ts';
export const { keysOf, parseKey } = createLayout({ longest: 1024 - '.json'.length });
export const isTooLong = (_key: string) => false;
