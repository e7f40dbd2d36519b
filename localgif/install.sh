#!/bin/sh
# sh install.sh TARGET: verify this bundle, then install localgif from it into TARGET. It needs no package index, no
# network and no root, and writes only to TARGET. LOCALGIF_PYTHON names the interpreter to use.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
again="Nothing was installed. Copy the bundle again, or make it again: localgif bundle -o DIR"
alike="A bundle serves machines of one kind. Make one on a machine like this: localgif bundle -o DIR"

fail() {
    printf '%s\n' "error: $1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 3
}

verify() {
    command -v sha256sum >/dev/null 2>&1 || fail "sha256sum is missing, so nothing can be verified" "Install coreutils."
    [ -f "$here/SHA256SUMS" ] || fail "this bundle is incomplete: it has no SHA256SUMS" \
        "Run localgif bundle again with the same -o: it continues where it stopped."
    [ -s "$here/SHA256SUMS" ] || fail "SHA256SUMS is empty" "$again"
    while read -r sum name; do
        [ -f "$here/$name" ] && [ ! -L "$here/$name" ] || fail "$name is missing from this bundle" "$again"
        found=$(sha256sum <"$here/$name")
        found=${found%% *}
        [ "$found" = "$sum" ] || fail "$name is not the file that was bundled: sha256 $found, expected $sum" "$again"
    done <"$here/SHA256SUMS"
    # pip would also look at a wheel that was not bundled.
    (cd "$here" && find . ! -type d) | while read -r found; do
        name=${found#./}
        [ "$name" = SHA256SUMS ] || cut -c67- "$here/SHA256SUMS" | grep -qxF -- "$name" ||
            fail "$name is not part of this bundle" "Nothing was installed. Remove it, or copy the bundle again."
    done
}

# Exit status 0 if $1 is a CPython of the bundle's version.
fits() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c "import sys
sys.exit(not (sys.implementation.name == 'cpython' and '%d.%d' % sys.version_info[:2] == '$want'))" >/dev/null 2>&1
}

# Sets $python, or refuses: this machine must be of the kind that bundle.txt names.
find_python() {
    want='' machine='' libc='' glibc=''
    while read -r key value; do
        case $key in
            python) want=$value ;;
            machine) machine=$value ;;
            libc) libc=$value ;;
            glibc) glibc=$value ;;
        esac
    done <"$here/bundle.txt"
    [ "$(uname -sm)" = "Linux $machine" ] ||
        fail "this bundle is for Linux on $machine, this machine is $(uname -sm)" "$alike"
    python=${LOCALGIF_PYTHON:-}
    if [ -z "$python" ]; then
        for python in "python$want" python3 python ''; do
            if [ -z "$python" ] || fits "$python"; then break; fi
        done
        [ -n "$python" ] || fail "this bundle is for CPython $want, which is not on PATH" \
            "Name the interpreter: LOCALGIF_PYTHON=/where/it/is sh $0 TARGET" "$alike"
    fi
    fits "$python" || fail "LOCALGIF_PYTHON=$python is not CPython $want, which this bundle is for" "$alike"
    found=$("$python" -c "import platform
print(*platform.libc_ver())")
    "$python" -c "import platform, sys
number = lambda text: [int(part) for part in text.split('.') if part.isdigit()]
name, version = platform.libc_ver()
sys.exit((name or 'other') != '$libc' or (name == 'glibc' and number(version) < number('$glibc')))" ||
        fail "this bundle is for $libc $glibc or newer, this machine has ${found:-another C library}" "$alike"
}

case ${1:-} in
    '' | -*) usage=1 ;;
    *) usage= ;;
esac
if [ $# -ne 1 ] || [ -n "$usage" ]; then
    printf '%s\n' "usage: sh $0 TARGET" "  TARGET: a folder that does not exist yet, or is empty" >&2
    exit 2
fi
case $1 in
    /*) target=$1 ;;
    *) target=$PWD/$1 ;;
esac
case $target/ in
    "$here"/*) fail "$target is inside the bundle" "Choose another TARGET." ;;
esac
mark=$target/.localgif-installing
if [ -e "$target" ] && [ ! -f "$mark" ] && [ -n "$(ls -A -- "$target" 2>/dev/null || echo '?')" ]; then
    fail "$target is not an empty folder" "Choose another TARGET."
fi

printf '%s\n' "verifying the bundle ..." >&2
verify
find_python

printf '%s\n' "installing into $target ..." >&2
trap 'printf "%s\n" "  The install is not complete. Run it again: it starts over in $target." >&2' EXIT
mkdir -p -- "$target"
: >"$mark"
tar -xf "$here/project.tar" -C "$target"
mkdir -p "$target/.localgif/models"
for file in "$here"/weights/*.gguf; do
    [ -f "$file" ] || continue
    cp -- "$file" "$target/.localgif/models/part"
    mv -- "$target/.localgif/models/part" "$target/.localgif/models/${file##*/}"
done
LOCALGIF_PYTHON=$python LOCALGIF_WHEELS=$here/wheels "$target/scripts/env" true
rm -f -- "$mark"
trap - EXIT
printf '%s\n' "installed. Run:  $target/scripts/just optimize"
