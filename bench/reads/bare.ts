/**
 * `node bare.ts MOUNTPOINT FILE`: a mount by fuse-native that has one file and does nothing but read it, as the floor of what
 * reading through this binding costs. Unmount it to end it.
 */
import { closeSync, fstatSync, openSync, read } from 'node:fs';
import { loadFuse } from '../../src/fs/fuse-binding.ts';

const [mountpoint = '', file = ''] = process.argv.slice(2);
const fd = openSync(file, 'r');
const stats = fstatSync(fd);
const folder = { ...stats, mode: 0o40755, size: 0 };
const name = '/image.sif';
const ENOENT = -2;

type Answer = (result: number, ...values: unknown[]) => void;

const Fuse = loadFuse();
const operations = {
  init: (answer: Answer) => answer(0),
  getattr: (path: string, answer: Answer) =>
    path === '/' ? answer(0, folder) : path === name ? answer(0, stats) : answer(ENOENT),
  readdir: (_path: string, answer: Answer) => answer(0, ['.', '..', name.slice(1)]),
  open: (_path: string, _flags: number, answer: Answer) => answer(0, 1),
  release: (_path: string, _handle: number, answer: Answer) => answer(0),
  read: (_path: string, _handle: number, target: Buffer, length: number, offset: number, answer: Answer) =>
    read(fd, target, 0, length, offset, (error, count) => answer(error === null ? count : -5)),
};
const mount = new Fuse(mountpoint, operations, { timeout: false, attrTimeout: 1 });
mount.mount((error) => {
  if (error !== null) throw error;
  process.send?.('ready');
});
process.on('disconnect', () => closeSync(fd));
