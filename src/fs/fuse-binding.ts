/**
 * Loads fuse-native, and what this project replaces in it. Only fuse.ts uses its classes.
 *
 * Reads skip fuse-native's own JavaScript, which makes six objects for each and answers a tick later. A read of cached bytes takes
 * a third less time that way (bench/reads/read.ts).
 */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { SregistryError } from '../base/errors.ts';

/** Answers an operation: a negative errno, or a count that is not negative, and values. */
export type Answer = (result: number, ...values: unknown[]) => void;
export type Handler = (...args: never[]) => void;

/** Reads for the kernel into its buffer, and calls `answer` once: with the number of bytes, or with a negative errno. */
export type ReadOperation = (
  path: string,
  handle: number,
  buffer: Buffer,
  length: number,
  offset: number,
  answer: (result: number) => void,
) => void;

interface FuseInstance {
  mount(callback: (error: Error | null) => void): void;
}

/** Methods of fuse-native's class that are replaced (fuse-native 2.2, index.js). */
interface FuseInternals {
  _fuseOptions(): string;
  _makeHandlerArray(): Handler[];
  _op_getxattr(signal: Answer, path: string, name: string, target: Buffer): void;
  _op_listxattr(signal: Answer, path: string, target: Buffer): void;
  _op_getattr(signal: Answer, path: string): void;
  _op_readdir(signal: Answer, path: string): void;
  _op_fgetattr(signal: Answer, path: string, handle: number): void;
}

export interface FuseClass {
  new (
    mountpoint: string,
    operations: Record<string, Handler>,
    options: object,
  ): FuseInstance & FuseInternals;
}

/** The native part of fuse-native. */
interface Native {
  readonly op_read: number;
  /** Answers a read, and takes the kernel's buffer back: nobody may touch it after that. */
  fuse_native_signal_read(thread: unknown, result: number, unused: number, buffer: ArrayBufferLike): void;
}

/** The class that mounts. Throws MISSING_DEPENDENCY if libfuse 2 cannot be loaded. */
export function loadFuse(): FuseClass {
  return load((require) => require('fuse-native') as FuseClass);
}

/** As {@link loadFuse}, with `read` as the operation that reads. */
export function loadFuseWithReads(read: ReadOperation): FuseClass {
  const Fuse = loadFuse();
  const native = load((require) => {
    const module = require.resolve('fuse-native');
    return createRequire(module)('node-gyp-build')(dirname(module)) as Native;
  });
  const onRead = (
    thread: unknown,
    _operation: number,
    path: string,
    handle: number,
    buffer: Buffer,
    length: number,
    low: number,
    high: number,
  ): void => {
    const answer = (result: number) => native.fuse_native_signal_read(thread, result, 0, buffer.buffer);
    read(path, handle, buffer, length, low + high * 2 ** 32, answer);
  };
  return class extends Fuse {
    override _makeHandlerArray(): Handler[] {
      const handlers = super._makeHandlerArray();
      handlers[native.op_read] = onRead;
      return handlers;
    }
  };
}

function load<T>(from: (require: NodeJS.Require) => T): T {
  try {
    return from(createRequire(import.meta.url));
  } catch (cause) {
    throw new SregistryError('MISSING_DEPENDENCY', 'Mounting needs libfuse 2, which cannot be loaded', {
      hint: 'Run sregistry doctor; on Debian or Ubuntu: apt-get install libfuse2 fuse3',
      cause,
    });
  }
}
