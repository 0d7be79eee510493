"""Layers for the tests, made, applied and listed by Python's own tarfile and os.

  make FOLDER         writes layer-1.tar ... into FOLDER
  apply ROOT TAR...   applies layers to the empty folder ROOT, as the OCI image specification tells ("Applying Changesets")
  list ROOT           prints each file of a tree as JSON: everything that a container can tell about it
"""
import hashlib, io, json, os, shutil, stat, sys, tarfile

CAPABILITY = bytes.fromhex('0100000200200000000000000000000000000000')


def layer(folder, number, entries, format=tarfile.PAX_FORMAT):
    with tarfile.open(os.path.join(folder, f'layer-{number}.tar'), 'w', format=format) as tar:
        for name, options in entries:
            info = tarfile.TarInfo(name)
            data = options.pop('data', b'')
            info.type = options.pop('type', tarfile.REGTYPE)
            info.mode = options.pop('mode', 0o755 if info.type == tarfile.DIRTYPE else 0o644)
            info.mtime = options.pop('mtime', 1_600_000_000 + number)
            info.size = len(data)
            for key, value in options.pop('xattrs', {}).items():
                info.pax_headers[f'SCHILY.xattr.{key}'] = value.decode('utf-8', 'surrogateescape')
            for key, value in options.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))


def directory(**options):
    return {'type': tarfile.DIRTYPE, **options}


def link(target):
    return {'type': tarfile.LNKTYPE, 'linkname': target}


def symlink(target, **options):
    return {'type': tarfile.SYMTYPE, 'linkname': target, 'mode': 0o777, **options}


def make(folder):
    long = 'long-' + 'n' * 120
    layer(folder, 1, [
        ('./', directory(mode=0o755)),
        ('bin', directory()),
        ('bin/tool', {'data': b'tool 1\n' * 40000, 'mode': 0o4755}),
        ('bin/group', {'data': b'group\n', 'mode': 0o2755, 'uid': 1000, 'gid': 1001}),
        ('bin/alias', link('bin/tool')),
        ('bin/capable', {'data': b'capable', 'mode': 0o755, 'xattrs': {'security.capability': CAPABILITY, 'user.note': b'n'}}),
        ('tmp', directory(mode=0o1777)),
        ('etc', directory()),
        ('etc/gone', {'data': b'gone'}),
        ('etc/changed', {'data': b'old'}),
        ('etc/tree', directory()),
        ('etc/tree/a', {'data': b'a'}),
        ('etc/tree/sub', directory()),
        ('etc/tree/sub/b', {'data': b'b'}),
        ('etc/file-to-directory', {'data': b'x'}),
        ('etc/directory-to-file', directory()),
        ('etc/directory-to-file/inside', {'data': b'x'}),
        ('etc/link-to-file', symlink('changed')),
        ('usr', directory()),
        ('usr/lib', directory(mtime=1_500_000_000)),
        ('lib', symlink('usr/lib', mtime=1_500_000_001)),
        ('dev', directory()),
        ('dev/null', {'type': tarfile.CHRTYPE, 'devmajor': 1, 'devminor': 3, 'mode': 0o666}),
        ('dev/disk', {'type': tarfile.BLKTYPE, 'devmajor': 259, 'devminor': 70000, 'mode': 0o660, 'gid': 6}),
        ('run', directory()),
        ('run/pipe', {'type': tarfile.FIFOTYPE, 'mode': 0o600}),
        ('höhe/日本語', {'data': 'ü'.encode()}),
        (f'{long}/{long}/{long}', {'data': b'deep'}),
        ('escape', symlink('../../../../usr')),
    ])
    layer(folder, 2, [
        ('etc/.wh.gone', {}),
        ('etc/changed', {'data': b'new contents', 'mode': 0o600}),
        ('etc/tree/.wh..wh..opq', {}),
        ('etc/tree', directory(mode=0o700, mtime=1_600_000_100)),
        ('etc/tree/c', {'data': b'c'}),
        ('etc/file-to-directory', directory()),
        ('etc/file-to-directory/now', {'data': b'now'}),
        ('etc/directory-to-file', {'data': b'file'}),
        ('etc/link-to-file', {'data': b'no link'}),
        ('lib/through-link', {'data': b'in usr/lib'}),
        ('escape/inside', {'data': b'in usr'}),
        ('bin/second', link('bin/tool')),
        ('latin', directory()),
        ('empty', {}),
    ], tarfile.GNU_FORMAT)
    layer(folder, 3, [
        ('many', directory()),
        *((f'many/file-{i}', {'data': f'file {i}\n'.encode() * (i % 7)}) for i in range(10_000)),
        ('bin/.wh.alias', {}),
        ('usr/share/made/on/the/way', {'data': b'parents are missing'}),
        ('big', {'data': os.urandom(16) * 40_000, 'uid': 3_000_000, 'gid': 3_000_001}),
    ], tarfile.GNU_FORMAT)
    # GNU tar's sparse files, and a name that is no UTF-8.
    work = os.path.join(folder, 'work').encode()
    os.mkdir(work)
    with open(work + b'/sparse', 'wb') as file:
        for at in (0, 1_000_000, 3_000_001):
            file.seek(at)
            file.write(b'data at %d\n' % at * 500)
        file.truncate(5_000_000)
    with open(work + b'/latin-\xe9', 'wb') as file:
        file.write(b'latin')
    for name in os.listdir(work):
        os.utime(work + b'/' + name, (1_600_000_004, 1_600_000_004))
    tar = os.path.join(folder, 'layer-4.tar')
    os.system(f'tar --sparse --format=posix --numeric-owner -C {folder}/work -cf {tar} .')
    shutil.rmtree(work)


def apply(root, archive):
    """One layer: first what it removes, then what it brings; hard links and replaced types as a disk has them."""
    with tarfile.open(archive, errors='surrogateescape') as tar:
        members = tar.getmembers()

        def inside(name):
            parent = os.path.join(root, os.path.dirname(name))
            # No link of the tests leads out but one, which the kernel's own root would stop.
            real = os.path.realpath(parent)
            if not (real + '/').startswith(os.path.realpath(root) + '/'):
                real = os.path.join(root, os.path.relpath(real, '/'))
            return os.path.join(real, os.path.basename(name))

        times = {}
        for member in members:
            name = os.path.normpath(member.name)
            base = os.path.basename(name)
            if base == '.wh..wh..opq':
                for child in os.listdir(os.path.dirname(inside(name))):
                    remove(os.path.join(os.path.dirname(inside(name)), child))
            elif base.startswith('.wh.'):
                remove(os.path.join(os.path.dirname(inside(name)), base[4:]))
        for member in members:
            name = os.path.normpath(member.name)
            if os.path.basename(name).startswith('.wh.'):
                continue
            path = inside(name) if name != '.' else root
            os.makedirs(os.path.dirname(path), exist_ok=True)
            is_directory = os.path.isdir(path) and not os.path.islink(path)
            if not (member.isdir() and is_directory):
                remove(path)
            if member.islnk():
                os.link(inside(os.path.normpath(member.linkname)), path, follow_symlinks=False)
                continue
            if member.isdir():
                os.makedirs(path, exist_ok=True)
            elif member.issym():
                os.symlink(member.linkname, path)
            elif member.isfile():
                with open(path, 'wb') as file:
                    shutil.copyfileobj(tar.extractfile(member), file)
            elif member.isfifo():
                os.mkfifo(path)
            else:
                kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
                os.mknod(path, kind, os.makedev(member.devmajor, member.devminor))
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
            if not member.issym():
                os.chmod(path, member.mode)
            for key, value in member.pax_headers.items():
                if key.startswith('SCHILY.xattr.'):
                    os.setxattr(path, key[13:], value.encode('utf-8', 'surrogateescape'), follow_symlinks=False)
            times[path] = member.mtime
        return times


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def list_tree(root):
    first = {}
    found = []
    for folder, folders, files in os.walk(root.encode()):
        for path in [folder + b'/' + name for name in folders + files] + ([folder] if folder == root.encode() else []):
            status = os.lstat(path)
            name = os.path.relpath(path, root.encode())
            entry = {
                'path': name.hex(),
                'shown': name.decode('latin1'),
                'mode': oct(status.st_mode),
                'owner': [status.st_uid, status.st_gid],
                'modified': int(status.st_mtime // 1),
                'xattrs': {key: os.getxattr(path, key, follow_symlinks=False).hex()
                           for key in sorted(os.listxattr(path, follow_symlinks=False)) if key != 'security.selinux'},
            }
            if stat.S_ISLNK(status.st_mode):
                entry['target'] = os.readlink(path).hex()
            if stat.S_ISREG(status.st_mode):
                with open(path, 'rb') as file:
                    entry['sha256'] = hashlib.sha256(file.read()).hexdigest()
                entry['size'] = status.st_size
            if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
                entry['device'] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
            if not stat.S_ISDIR(status.st_mode):
                entry['links'] = status.st_nlink
                first.setdefault(status.st_ino, []).append(name.hex())
                entry['inode'] = status.st_ino
            found.append(entry)
    for entry in found:
        if 'inode' in entry:
            entry['names'] = sorted(first[entry.pop('inode')])
    print(json.dumps(sorted(found, key=lambda entry: entry['path'])))


command, *arguments = sys.argv[1:]
if command == 'make':
    make(*arguments)
elif command == 'apply':
    root, *archives = map(os.path.abspath, arguments)
    os.umask(0o022)
    times = {}
    for archive in archives:
        times.update(apply(root, archive))
    for path, time in sorted(times.items(), reverse=True):
        if os.path.lexists(path):
            os.utime(path, (time, time), follow_symlinks=False)
else:
    list_tree(*arguments)
