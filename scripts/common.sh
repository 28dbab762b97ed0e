# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# What the scripts share. Sourced, not run.

set -euo pipefail

# shellcheck disable=SC2034 # the scripts use it
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# ONNX Runtime reports to Microsoft otherwise.
export ORT_DISABLE_TELEMETRY=${ORT_DISABLE_TELEMETRY-1}

# A build outside the checkout does not find what setup has fetched.
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$root/.cache/onnxruntime/libonnxruntime.so}
fi

say() {
    printf '\n== %s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# The option with which scripts/setup chose the ONNX Runtime that is used here.
chosen_runtime() {
    local link
    link=$(readlink "$root/.cache/onnxruntime") || link=onnxruntime-cpu
    echo "--${link#onnxruntime-}"
}

# Installs Debian packages, or says which are needed where that can't be done.
install_packages() {
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo)
    fi
    if ! command -v apt-get >/dev/null; then
        die "needs these packages, under Debian's names; there is no apt-get here, so install them yourself: $*"
    fi
    if [ ${#sudo[@]} -gt 0 ] && ! command -v sudo >/dev/null; then
        die "needs these packages and there is no sudo here. As root, run: apt-get install $*"
    fi
    say "Installing system packages: $*"
    # Some other source's fault stops the update but seldom the installation.
    "${sudo[@]}" apt-get update -qq || echo "apt-get update failed: trying with the package lists there are."
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" ||
        die "apt-get could not install: $*"
}
