"""What Python's tarfile finds in archives: one line of JSON for each path on standard input. null: it cannot read the archive."""
import json, math, os, sys, tarfile
from decimal import Decimal

TYPES = {tarfile.DIRTYPE: 'directory', tarfile.LNKTYPE: 'hard-link', tarfile.SYMTYPE: 'symlink', tarfile.FIFOTYPE: 'fifo',
         tarfile.CHRTYPE: 'character-device', tarfile.BLKTYPE: 'block-device'}


def latin(text):
    return text.encode('utf-8', 'surrogateescape').decode('latin1')


for path in sys.stdin.read().splitlines():
    if os.path.getsize(path) == 0:
        print('[]')
        continue
    try:
        with tarfile.open(path, encoding='utf-8', errors='surrogateescape') as tar:
            print(json.dumps([{
                'type': TYPES.get(member.type, 'file'),
                'path': latin(member.name),
                'mode': member.mode & 0o7777,
                'uid': member.uid,
                'gid': member.gid,
                'modified': math.floor(Decimal(member.pax_headers.get('mtime', member.mtime))),
                **({'size': member.size, 'offset': member.offset_data} if member.isfile() else {}),
                **({'target': latin(member.linkname)} if member.islnk() or member.issym() else {}),
                **({'major': member.devmajor, 'minor': member.devminor} if member.isdev() and not member.isfifo() else {}),
                'xattrs': {latin(key[13:]): latin(value) for key, value in member.pax_headers.items() if key.startswith('SCHILY.xattr.')},
            } for member in tar]))
    except tarfile.TarError:
        print('null')
