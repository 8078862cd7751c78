#!/usr/bin/env bash
# Makes the Debian package for a board of what cross/build.sh builds, and checks that what is in it works.
#
# usage: cross/package.sh [--install] [TARGET]      (default: aarch64-unknown-linux-gnu)
# --install installs the package on this machine, beside those of its own architecture, asks there and purges it again; it needs root,
# and leaves the libraries that the package needs and the user edgeqa-kiosk. The exit code is 3 if there is no Zig to link with, and so the
# program needs a newer glibc than the package declares.
set -euo pipefail
cd "$(dirname "$0")/.."
install_here=
if [ "${1:-}" = --install ]; then
    install_here=yes
    shift
fi
TARGET=${1:-aarch64-unknown-linux-gnu}
case $TARGET in
aarch64-unknown-linux-gnu | armv7-unknown-linux-gnueabihf) [ $# -le 1 ] || { sed -n '4s/^# //p' "cross/${0##*/}" >&2; exit 2; } ;;
*-musl)
    echo "error: a static program needs no package: copy it, with cross/deploy.sh or by hand" >&2
    exit 2
    ;;
*)
    sed -n '4s/^# //p' "cross/${0##*/}" >&2
    exit 2
    ;;
esac

# Where programs are looked for.
export CARGO_TARGET_DIR=$PWD/target
# What the tests need, too, as other selections build dependencies once more, with other features.
cargo test --workspace --locked --no-run --quiet
rm -rf target/pages
target/debug/examples/pages target/pages
# completes FILE OPTION: the shell completes the name of a file that has a space as one word.
completes() (
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    pages=$PWD/target/pages
    cd "$folder"
    touch "$1"
    # Only where a key was pressed is there something to set options of.
    compopt() { :; }
    # shellcheck source=/dev/null
    . "$pages/edgeqa.bash"
    # shellcheck disable=SC2034
    COMP_WORDS=(edgeqa ask "$2" "${1:0:1}") COMP_CWORD=3
    COMPREPLY=()
    _edgeqa edgeqa "${1:0:1}" "$2"
    [ "${#COMPREPLY[@]}" = 1 ] && [ "${COMPREPLY[0]}" = "$1" ]
)
completes "a text.txt" --context-file || { echo "error: bash does not complete names with spaces" >&2; exit 1; }
cross/licenses.py "$TARGET" | gzip -9n >target/pages/third-party.txt.gz
# Does nothing if the program is as new as its sources.
cross/build.sh "$TARGET"
# shellcheck source=cross/toolchain.sh
. cross/toolchain.sh
if ! cross/check.sh "$TARGET" "$PROGRAM" >/dev/null; then
    [ -z "$GLIBC" ] || exit 1
    echo "SKIPPED the package: there is no Zig, and linked without it the program does not do for a package"
    exit 3
fi
tools=$PWD/target/tools
if ! PATH=$tools/bin:$PATH command -v cargo-deb >/dev/null; then
    echo "installing cargo-deb" >&2
    env -u RUSTC -u RUSTC_BOOTSTRAP cargo install --quiet --debug --locked --root "$tools" --target-dir target/tools/build cargo-deb@3.8.0
fi
PATH=$tools/bin:$PATH
# Later commits make newer packages.
revision=$(TZ=UTC git log -1 --date=format-local:%Y%m%d.%H%M%S --format=%cd 2>/dev/null) || revision=$(date -u +%Y%m%d.%H%M%S)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
cat >target/pages/changelog <<CHANGELOG
edgeqa ($version-$revision) unstable; urgency=medium

  * Made of commit $(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown); the history of the sources says what changed.

 -- The edgeqa developers <edgeqa@localhost>  $(git log -1 --format=%cD 2>/dev/null || date -uR)
CHANGELOG
rm -f "target/edgeqa_"*"_$architecture.deb"
CARGO_TARGET_DIR=$TARGET_DIR cargo-deb --quiet --no-build --no-strip --profile board --target "$TARGET" --deb-revision "$revision" \
    --output target/
package=$(ls "target/edgeqa_"*"_$architecture.deb")
echo "$package: $(stat -c %s "$package") bytes, sha256 $(sha256sum "$package" | cut -d' ' -f1)"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
dpkg-deb --field "$package" Package Version Architecture Depends Installed-Size
dpkg-deb --raw-extract "$package" "$folder"
for file in bin/edgeqa share/edgeqa/model.safetensors share/man/man1/edgeqa.1.gz share/man/man1/edgeqa-ask.1.gz \
    share/bash-completion/completions/edgeqa share/fish/vendor_completions.d/edgeqa.fish share/zsh/vendor-completions/_edgeqa \
    lib/systemd/system/edgeqa.service lib/systemd/system/edgeqa.socket lib/systemd/system/edgeqa-kiosk.service \
    share/edgeqa/chromium-policy.json share/doc/edgeqa/copyright share/doc/edgeqa/changelog.Debian.gz share/doc/edgeqa/third-party.txt.gz; do
    [ -s "$folder/usr/$file" ] || { echo "error: $package has no usr/$file" >&2; exit 1; }
done
cmp "$folder/usr/share/doc/edgeqa/copyright" cross/debian/copyright
for script in preinst postinst prerm postrm; do
    [ -x "$folder/DEBIAN/$script" ] || { echo "error: $package has no $script" >&2; exit 1; }
done

# check PROGRAM HOW: an answer without any option that says where the model is, from a folder that has none.
check() {
    local answer
    answer=$(cd "$folder" && env -u EDGEQA_MODEL HOME="$folder" "$QEMU" "${root[@]}" "$1" ask "Who kept the light?" --threads 1 \
        --context "Jonas Ekdahl kept the light until 1968, when it was automated." </dev/null)
    grep -q '^Jonas Ekdahl$' <<<"$answer" || { echo "error: $1 answers: $answer" >&2; return 1; }
    echo "answers $2"
}
if ! install "$QEMU" qemu-user-static || ! c_library; then
    [ -z "${CI:-}" ] || exit 1
    echo "SKIPPED an answer of what is in the package: it needs $QEMU and the board's C library here, which could not be installed"
    exit
fi
check "$folder/usr/bin/edgeqa" "when unpacked"
if [ -z "$install_here" ]; then
    echo "SKIPPED the installation of the package: no --install"
elif [ "$(id -u)" != 0 ]; then
    echo "SKIPPED the installation of the package: not root"
elif [ -e /usr/bin/edgeqa ] || [ -e /var/lib/edgeqa ] || [ -e /var/lib/edgeqa-kiosk ]; then
    echo "SKIPPED the installation of the package: there is a /usr/bin/edgeqa, or something of it in /var/lib, which is not touched"
else
    trap 'rm -rf "$folder"; dpkg --purge edgeqa >/dev/null' EXIT
    apt-get install -y --no-install-recommends "./$package" >/dev/null 2>&1 ||
        foreign_packages "$(dpkg-deb --field "$package" Architecture)" "./$package"
    check /usr/bin/edgeqa "when installed"
    changed=$(dpkg --verify edgeqa 2>&1) || changed=${changed:-it cannot be verified}
    [ -z "$changed" ] || { printf 'error: what is installed is not what is in %s:\n%s\n' "$package" "$changed" >&2; exit 1; }
fi
