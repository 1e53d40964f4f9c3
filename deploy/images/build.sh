#!/bin/sh
# Build the images, run each once, and write what is inside.
#
#   deploy/images/build.sh [driver] [provider]      both, if none is named
#
# BASE    base image, with glibc and Python 3.11 or newer (default: that of the Dockerfiles);
#         without a registry: deploy/images/base.sh && BASE=localhost/python-base …
# ARCH    amd64 or arm64 (default: this machine's)
# BUILD_BASE  like BASE, for this machine's architecture, where BASE is for another one alone
# PREFIX  what the names begin with (default ghcr.io/hanzoai)
# ENGINE  buildah or docker (default: the first that is there)
# PYTHON  Python with pip, and with the project's packages to run the images (default python3)
# OUT     folder for the lists of what is inside (default dist)
set -eu
cd "$(dirname "$0")/../.."
prefix=${PREFIX:-ghcr.io/hanzoai}
out=${OUT:-dist}
python=${PYTHON:-python3}
engine=${ENGINE:-$(command -v buildah || command -v docker || true)}
case $(uname -m) in x86_64) native=amd64 ;; aarch64) native=arm64 ;; *) native=$(uname -m) ;; esac
arch=${ARCH:-$native}
base=${BASE:-$(sed -n 's/^ARG BASE=//p' Dockerfile.driver)}
build_base=${BUILD_BASE:-$base}
version=$(sed -n 's/^VERSION = "\(v.*\)"$/\1/p' secrets_store/settings.py)
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
date=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)
[ -n "$engine" ] || { echo "build.sh: needs buildah or docker" >&2; exit 1; }
work=$(mktemp -d)
container=
finish() {
    [ -z "$container" ] || remove "$container"
    rm -rf "$work"
}
trap finish EXIT

case $(basename "$engine") in
buildah)
    # Without --platform: it would ask local images of the other stage for that platform too.
    build() { buildah build --isolation chroot --quiet "$@" . >/dev/null; }
    create() { buildah from --quiet "$1"; }
    unpack() { mkdir -p "$2" && cp -a "$(buildah mount "$1")/." "$2" && buildah umount "$1" >/dev/null; }
    remove() { buildah rm "$1" >/dev/null; }
    inside() { buildah run --isolation chroot "$@"; }
    ;;
*)
    build() { "$engine" build --quiet --platform "linux/$arch" "$@" . >/dev/null; }
    create() { "$engine" create --entrypoint python3 "$1" -c 'import time; time.sleep(600)'; }
    unpack() { mkdir -p "$2" && "$engine" export "$1" | tar -x -C "$2"; }
    remove() { "$engine" rm --force "$1" >/dev/null; }
    inside() { "$engine" start "$1" >/dev/null && "$engine" exec "$@"; }
    ;;
esac

# The wheels come from where this machine's pip gets them, each checked against its hash.
container=$(create "$build_base")
tags=$(inside "$container" python3 -c '
import os, sys
machine = {"amd64": "x86_64", "arm64": "aarch64"}[sys.argv[1]]
minor = int(os.confstr("CS_GNU_LIBC_VERSION").rpartition(".")[2])
print("--python-version %d.%d" % sys.version_info[:2])
for number in range(minor, 16, -1):
    print("--platform manylinux_2_%d_%s" % (number, machine))
print("--platform manylinux2014_" + machine)' "$arch")
remove "$container"
container=$(create "$base")
unpack "$container" "$work/base"
remove "$container"
container=
for lock in requirements/driver.lock requirements/provider.lock deploy/images/pip.lock; do
    # shellcheck disable=SC2086 # several options
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --require-hashes $tags \
        --dest "$work/wheels" --requirement "$lock"
done

mkdir -p "$out"
for which in ${*:-driver provider}; do
    case $which in
    driver) name=secrets-store-csi-driver ;;
    provider) name=kms-csi-provider ;;
    *) echo "build.sh: no image is called $which" >&2; exit 2 ;;
    esac
    image=$prefix/$name:$version
    build --file "Dockerfile.$which" --tag "$image" \
        --build-context "wheels=$work/wheels" --build-arg "BASE=$base" \
        --build-arg "BUILD_BASE=$build_base" --build-arg "TARGETARCH=$arch" \
        --build-arg "VERSION=$version" --build-arg "GIT_COMMIT=$commit" \
        --build-arg "BUILD_DATE=$date"
    container=$(create "$image")
    unpack "$container" "$work/$which"
    remove "$container"
    container=
    cp "$work/$which/opt/$name/sbom.json" "$out/$name.sbom.json"
    whole=$(du -sm "$work/$which" | cut -f 1)
    echo "$image: $arch, $whole MB, $((whole - $(du -sm "$work/base" | cut -f 1))) MB over its base"
    if [ "$arch" = "$native" ]; then
        "$python" deploy/images/run.py "$which" "$work/$which"
    fi
done
