# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Other Debian and Ubuntu systems in folders, to build and try things in. Sourced after common.sh; needs root.

# shellcheck disable=SC2154 # common.sh has it
roots=$root/.cache/roots
debian=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
ubuntu=${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}

# What building the plugin with this machine's Rust needs.
# shellcheck disable=SC2034 # the scripts use it
build_packages=(gcc libc6-dev pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev)

# make_root NAME PACKAGE...: a system with these packages, made once. It is of the release NAME, or NAME up to a
# hyphen where one release has several systems. experimental is unstable with the GStreamer of experimental.
make_root() {
    local name=$1 base=$roots/$1 suite=${1%%-*} mirror=$debian options=() script=() more=''
    shift
    [ "$(cat "$base/packages" 2>/dev/null)" != "$*" ] || return 0
    [ "$(id -u)" -eq 0 ] || die "makes a system in a folder, which needs root"
    command -v debootstrap >/dev/null || install_packages debootstrap
    say "Making a system: $name"
    case $suite in
    experimental)
        suite=sid
        more="deb $mirror experimental main"
        ;;
    bionic | focal | jammy | noble)
        mirror=$ubuntu
        get_ubuntu_keys
        options=("--keyring=$roots/ubuntu/usr/share/keyrings/ubuntu-archive-keyring.gpg" "--components=main,universe")
        more="deb $mirror $suite-updates main universe"
        # That of every Ubuntu release, also of those that debootstrap does not know yet.
        script=(gutsy)
        ;;
    esac
    rm -rf --one-file-system "${base:?}"
    mkdir -p "$base"
    apart debootstrap --variant=minbase "${options[@]}" "$suite" "$base/system" "$mirror" \
        "${script[@]}" >"$base/log" ||
        die "debootstrap could not make a system: $base/log"
    echo "$more" >"$base/system/etc/apt/sources.list.d/more.list"
    printf '%s\n' "Package: *gstreamer* gir1.2-gst*" "Pin: release a=experimental" "Pin-Priority: 900" \
        >"$base/system/etc/apt/preferences.d/gstreamer"
    # A mirror may be some weeks behind.
    echo 'Acquire::Check-Valid-Until "false";' >"$base/system/etc/apt/apt.conf.d/old"
    # Documentation is not looked at here.
    echo "path-exclude=/usr/share/doc/*" >"$base/system/etc/dpkg/dpkg.cfg.d/small"
    {
        enter "$base/system" apt-get update -qq
        enter "$base/system" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@"
        enter "$base/system" apt-get clean
    } >>"$base/log" 2>&1 || die "could not install packages: $base/log"
    echo "$*" >"$base/packages"
}

# The keys that Ubuntu's archive is signed with, which Debian has not got.
get_ubuntu_keys() {
    local package=$roots/ubuntu-keyring.deb
    [ ! -d "$roots/ubuntu" ] || return 0
    mkdir -p "$roots"
    wget -q -O "$package" "$ubuntu/pool/main/u/ubuntu-keyring/ubuntu-keyring_2018.09.18.1~18.04.2_all.deb" ||
        die "could not download the keys of Ubuntu's archive from $ubuntu"
    echo "5d8609563fb3074026b254d7d5248f90d393c7dbafcac48916f333bf3c90fed9 $package" | sha256sum --check --quiet ||
        die "these are not the keys of Ubuntu's archive: $package"
    dpkg -x "$package" "$roots/ubuntu"
}

# in_root NAME COMMAND...: runs a command in a copy of that system. What it changes is gone
# afterwards, except in the checkout and in Rust's folders, which are there under their own paths.
in_root() {
    local base=$roots/$1 copy status=0
    shift
    copy=$(mktemp -d -p "$base")
    trap 'rm -rf --one-file-system "$copy"' EXIT
    mkdir "$copy/changes" "$copy/work" "$copy/system"
    BASE=$base/system COPY=$copy enter "$copy/system" "$@" || status=$?
    rm -rf --one-file-system "$copy"
    trap - EXIT
    return "$status"
}

# cargo_in NAME ARGUMENT...: this machine's cargo, with the linker and the libraries of that system.
cargo_in() {
    local flags=()
    # Rust's own linker, its default on x86-64, is unknown to compilers before GCC 9.
    [ "$(uname -m)" != x86_64 ] || flags=(RUSTFLAGS=-Clinker-features=-lld)
    in_root "$1" env "${flags[@]}" "$root/scripts/cargo-remapped" "${@:2}"
}

# apart COMMAND...: runs a command with mounts and processes of its own. What is left of them ends with it, or
# with this script: unshare itself keeps signals from them.
apart() {
    local child status=0
    # The shell has what runs beside it read nothing and ignore interrupts.
    env --default-signal=INT,QUIT unshare --mount --pid --fork --kill-child "$@" <&0 &
    child=$!
    trap 'kill -KILL "$child"; exit 130' INT
    trap 'kill -KILL "$child"; exit 143' TERM
    wait "$child" || status=$?
    trap - INT TERM
    return "$status"
}

# enter FOLDER COMMAND...: runs a command with that folder as its root, in the current folder if that is
# there too.
enter() {
    local rust=("${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}")
    # shellcheck disable=SC2016 # the inner shell has the variables
    apart bash -ec '
        system=$1 shared=("${@:2:3}") command=("${@:5}")
        [ -z "${COPY:-}" ] || mount -t overlay overlay \
            -o "lowerdir=$BASE,upperdir=$COPY/changes,workdir=$COPY/work" "$system"
        mount -t proc proc "$system/proc"
        mount --rbind /dev "$system/dev"
        cp /etc/hosts /etc/resolv.conf "$system/etc/"
        # Authorities of this network, for when ca-certificates is installed.
        [ ! -d /usr/local/share/ca-certificates ] || cp -R /usr/local/share/ca-certificates "$system/usr/local/share/"
        for folder in "${shared[@]}" ${RETINAFACE_SHARED:-}; do
            [ -d "$folder" ] || continue
            mkdir -p "$system$folder"
            mount --bind "$folder" "$system$folder"
        done
        exec env -u BASE -u COPY chroot "$system" bash -c "cd \"\$0\" 2>/dev/null || cd /; exec \"\$@\"" \
            "$PWD" "${command[@]}"
    ' enter "$1" "$root" "${rust[@]}" "${@:2}"
}
