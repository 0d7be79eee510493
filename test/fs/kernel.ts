/**
 * What the kernel and libfuse do between a program and the filesystem, as far as the filesystem sees it: a file that is removed
 * or replaced while it is open is renamed to a hidden name first (libfuse 2.9, fuse.c: hide_node), and that name is removed
 * when its last handle is released. Closing a descriptor is a flush and a release.
 */
import { constants } from 'node:fs';
import type { Filesystem } from '../../src/fs/filesystem.ts';
import { errnoOfCall, writeAll } from './support.ts';

const { O_CREAT, O_RDONLY, O_TRUNC, O_WRONLY } = constants;

interface Node {
  path: string;
  hidden: boolean;
  open: number;
}

export class Kernel {
  readonly filesystem: Filesystem;
  readonly #nodes = new Map<string, Node>();
  readonly #handles = new Map<number, Node>();
  #hidden = 0;

  constructor(filesystem: Filesystem) {
    this.filesystem = filesystem;
  }

  /** open(2), with O_CREAT and O_TRUNC taken apart as the kernel does. */
  async open(path: string, flags: number = O_RDONLY): Promise<number> {
    const isThere = (await errnoOfCall(this.filesystem.getattr(path))) === undefined;
    const handle =
      isThere || (flags & O_CREAT) === 0
        ? await this.filesystem.open(path, flags & ~(O_CREAT | O_TRUNC))
        : await this.filesystem.create(path);
    const node = this.#nodes.get(path) ?? { path, hidden: false, open: 0 };
    this.#nodes.set(path, node);
    node.open += 1;
    this.#handles.set(handle, node);
    if (isThere && flags & O_TRUNC) await this.filesystem.ftruncate(handle, 0);
    return handle;
  }

  /** close(2) of the last descriptor of an open file. */
  async close(handle: number): Promise<void> {
    try {
      await this.filesystem.flush(handle);
    } finally {
      await this.release(handle);
    }
  }

  /** What is left of close(2) when nobody waits for it. */
  async release(handle: number): Promise<void> {
    const node = this.#handles.get(handle) as Node;
    this.#handles.delete(handle);
    await this.filesystem.release(handle);
    node.open -= 1;
    if (node.open > 0) return;
    this.#nodes.delete(node.path);
    if (node.hidden) await this.filesystem.unlink(node.path);
  }

  async unlink(path: string): Promise<void> {
    await this.filesystem.getattr(path);
    if (this.#isOpen(path)) await this.#hide(path);
    else await this.filesystem.unlink(path);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.filesystem.getattr(from);
    if (from === to) return;
    if (this.#isOpen(to)) await this.#hide(to);
    await this.filesystem.rename(from, to);
    this.#move(from, to);
  }

  /** `cp`. */
  async copyIn(path: string, bytes: Uint8Array): Promise<void> {
    const handle = await this.open(path, O_WRONLY | O_CREAT | O_TRUNC);
    try {
      await writeAll(this.filesystem, handle, bytes);
    } catch (error) {
      await this.close(handle).catch(() => {});
      throw error;
    }
    await this.close(handle);
  }

  /** All bytes behind a handle. */
  async readAll(handle: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let offset = 0; ; ) {
      const part = Buffer.alloc(128 * 1024);
      const count = await this.filesystem.read(handle, part, offset, part.length);
      if (count === 0) return Buffer.concat(parts);
      parts.push(part.subarray(0, count));
      offset += count;
    }
  }

  /** `cat`. */
  async readFile(path: string): Promise<Buffer> {
    const handle = await this.open(path);
    try {
      return await this.readAll(handle);
    } finally {
      await this.release(handle);
    }
  }

  #isOpen(path: string): boolean {
    return (this.#nodes.get(path)?.open ?? 0) > 0;
  }

  async #hide(path: string): Promise<void> {
    this.#hidden += 1;
    const name = `.fuse_hidden${this.#hidden.toString(16).padStart(16, '0')}`;
    const hidden = `${path.slice(0, path.lastIndexOf('/'))}/${name}`;
    await this.filesystem.rename(path, hidden);
    this.#move(path, hidden);
    (this.#nodes.get(hidden) as Node).hidden = true;
  }

  #move(from: string, to: string): void {
    const node = this.#nodes.get(from);
    this.#nodes.delete(from);
    this.#nodes.delete(to);
    if (node === undefined) return;
    node.path = to;
    this.#nodes.set(to, node);
  }
}
