#!/bin/sh
# Make a base image from Debian packages alone: Python with its standard library, the C and C++
# libraries, certificates; no shell, no package manager, no compiler. For where no registry can be
# reached; anywhere else BASE= of build.sh names an image.
#
#   deploy/images/base.sh [NAME]      ARCH=arm64 for another architecture; needs apt and buildah
set -eu
name=${1:-localhost/python-base}
arch=${ARCH:-$(dpkg --print-architecture)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$root"
: > "$work/status"

# apt on a state of its own: the machine's packages and architectures do not matter.
cat > "$work/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
CONF
export APT_CONFIG="$work/apt.conf"
apt-get -q update >/dev/null

python=$(apt-cache depends python3 | sed -n 's/.*Depends: \(python3\.[0-9]*\)$/\1/p' | head -n 1)
# Of all that these need, the libraries: what remains serves their installation, not their use.
needed=$(apt-cache depends --recurse --important "$python" libstdc++6 |
    grep -E '^(lib[a-z0-9.+-]*|gcc-[0-9]+-base|zlib1g|media-types|python3\.[0-9]+(-minimal)?)$' |
    grep -Ev '^lib(perl|newt|slang|textwrap|debian-installer|debconf|selinux|acl|pcre|md[0-9]|zstd)' |
    sort -u)
(cd "$work/packages" && apt-get -q download $needed ca-certificates >/dev/null)

# Debian's merged directories come first, for packages may still use the old names.
for directory in bin sbin lib lib64; do
    mkdir -p "$root/usr/$directory"
    ln -s "usr/$directory" "$root/$directory"
done
for package in "$work"/packages/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink
done
ln -s "$python" "$root/usr/bin/python3"
mkdir -p "$root/etc/ssl/certs" "$root/tmp" "$root/var/run" "$root/proc" "$root/sys" "$root/dev"
chmod 1777 "$root/tmp"
find "$root/usr/share/ca-certificates" -name '*.crt' -print0 | sort -z | xargs -0 cat \
    > "$root/etc/ssl/certs/ca-certificates.crt"
# Where Debian's OpenSSL looks.
mkdir -p "$root/usr/lib/ssl"
ln -s /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
ln -s /etc/ssl/certs "$root/usr/lib/ssl/certs"
echo 'root:x:0:0:root:/:/nonexistent
nobody:x:65534:65534:nobody:/nonexistent:/nonexistent
nonroot:x:65532:65532:nonroot:/nonexistent:/nonexistent' > "$root/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:
nonroot:x:65532:' > "$root/etc/group"
# What nobody reads in a container. The copyright files stay: the licences ask for it.
find "$root/usr/share" -mindepth 1 -maxdepth 1 ! -name doc ! -name python3 -exec rm -rf {} +
find "$root/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$root/usr/sbin/update-ca-certificates"
# Which packages are inside, for scanners that look for it.
mkdir -p "$root/var/lib/dpkg/status.d"
for package in "$work"/packages/*.deb; do
    dpkg-deb --field "$package" > "$root/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
done

tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/root.tar" .
container=$(buildah from --arch "$arch" scratch)
buildah add --quiet "$container" "$work/root.tar" / >/dev/null
buildah config --arch "$arch" --env PATH=/usr/local/bin:/usr/bin --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$name" >/dev/null
echo "$name: $python, $arch, $(du -sm "$root" | cut -f 1) MB"
