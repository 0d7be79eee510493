/** mount.fuse.sregistry(8): how mount(8) and fstab(5) mount. */
import type { Options } from 'yargs';
import { FUSE_OPTIONS, SWITCH_OPTIONS, VALUE_OPTIONS } from '../../src/cli/mount-options.ts';
import { bold, italic, Page, type PageHeader } from './roff.ts';

/** The page, with the options of `-o` as `flags`, the options of `sregistry mount`, describe them. */
export function mountHelperPage(header: PageHeader, flags: Readonly<Record<string, Options>>): string {
  const page = new Page(header)
    .section('Name')
    .paragraph(`${header.name} - Mount container registries from mount(8) and fstab(5)`)
    .section('Synopsis')
    .paragraph(
      ...[bold('mount -t fuse.sregistry'), ' ', italic('backend'), ' ', italic('folder')],
      ...[' [', bold('-o'), ' ', italic('option'), '[,', italic('option'), ' ...]]'],
    )
    .section('Description')
    .paragraph(
      ...['Shows the images of ', italic('backend'), ' as files in ', italic('folder'), '. If it is '],
      ...[bold('none'), ' or ', bold('sregistry'), ', all configured backends are shown.'],
    )
    .paragraph('The mount and the settings of backends are those of the user who mounts.')
    .section('Options');
  const describe = (name: string) => flags[name.replaceAll('_', '-')]?.describe;
  for (const name of [...VALUE_OPTIONS, ...SWITCH_OPTIONS].sort()) {
    const what = describe(name);
    const value = VALUE_OPTIONS.includes(name) ? ['=', italic('value')] : [];
    if (what !== undefined) page.item([bold(name), ...value], `${what}.`);
  }
  return page
    .item([bold('ro'), ', ', bold('rw')], 'Refuse every write, or not.')
    .item([bold(FUSE_OPTIONS.join(', '))], 'As for other file systems.')
    .paragraph(
      'Options that concern when and by whom a file system is mounted are accepted. Others are refused.',
    )
    .section('Examples')
    .paragraph('Show one backend, read-only:')
    .example('mount -t fuse.sregistry lab /mnt/lab -o ro,allow_other,cache_size=50G')
    .paragraph('The same as a line of /etc/fstab:')
    .example('lab  /mnt/lab  fuse.sregistry  _netdev,nofail,ro,allow_other,cache_size=50G  0 0')
    .section('See also')
    .paragraph(bold('sregistry-mount'), '(1), ', bold('mount'), '(8), ', bold('fstab'), '(5)')
    .toString();
}
