#!/usr/bin/env bash
# scripts/install.sh PREFIX : installs this checkout below PREFIX, /usr/local or ~/.local for example: PREFIX/bin/sregistry and
# PREFIX/lib/sregistry, with its own Node and libfuse. Run it again to upgrade. docs/install.md says how to uninstall.
set -euo pipefail
[ $# = 1 ] && [ "${1#-}" = "$1" ] || { echo "usage: ${0##*/} PREFIX" >&2; exit 2; }
prefix=$(realpath -m -- "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup
node_modules/.bin/node packaging/main.ts --install "$prefix"
echo "Installed $("$prefix/bin/sregistry" version) as $prefix/bin/sregistry"
case :$PATH: in *:$prefix/bin:*) ;; *) echo "Add it to your PATH: export PATH=$prefix/bin:\$PATH" ;; esac
