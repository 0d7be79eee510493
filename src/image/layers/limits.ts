/** Bounds on what a layer may make us hold. A hostile archive of a few bytes can claim anything. */
import { SregistryError } from '../../base/errors.ts';

export interface LayerLimits {
  /** Entries of the archives of one image in all. */
  readonly entries: number;
  /** Bytes of names, link targets, extended attributes and maps of sparse files, in all. */
  readonly metadata: number;
  /** Bytes of one archive. */
  readonly size: number;
  /** Bytes that one file may claim, holes included. */
  readonly fileSize: number;
}

/** Ten times what the largest images in use have. */
export const LAYER_LIMITS: LayerLimits = {
  entries: 4_000_000,
  metadata: 512 * 1024 * 1024,
  size: 2 ** 40,
  fileSize: 2 ** 40,
};

/** The error of an image that goes beyond a limit. `what` names layer and reason. */
export function beyondLimit(what: string): SregistryError {
  return new SregistryError('NOT_PRESENTABLE', what, {
    hint: 'The image is damaged or made to do harm; ask who made it',
  });
}
