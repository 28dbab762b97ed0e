# shellcheck shell=bash disable=SC2154 # common.sh sets root
# SPDX-License-Identifier: MIT OR Apache-2.0
# A crate of the modules that need neither GStreamer nor a runtime: it builds in seconds, for any machine.
# Sourced, not run; after common.sh.

# What it consists of, in src.
pure_modules=(face frame geometry orientation families model native onnx preprocess retinaface tracking)

# A dependency as Cargo.toml gives it.
dependency() {
    grep -m 1 "^$1 = " "$root/Cargo.toml" || die "Cargo.toml does not have $1"
}

# Copies the modules into the crate, and sets `crate` to where it is.
make_pure_crate() {
    crate=$root/.cache/mutants
    rm -rf "$crate/src"
    mkdir -p "$crate/src" "$crate/.cache"
    {
        echo '[package]'
        echo 'name = "gstretinaface"'
        dependency edition
        echo 'autotests = false'
        echo '[lib]'
        echo 'doctest = false'
        # Only where it is asked for.
        echo '[[test]]'
        echo 'name = "pure"'
        echo 'test = false'
        echo '[dependencies]'
        local name
        for name in libc multiversion prost pulp thiserror; do
            dependency "$name"
        done
        echo '[dev-dependencies]'
        for name in png proptest serde_json tempfile; do
            dependency "$name"
        done
        echo '[profile.dev]'
        echo 'opt-level = 1'
        echo 'debug = false'
        echo '[workspace]'
    } >"$crate/Cargo.toml"
    cp "$root/Cargo.lock" "$crate"
    local module
    for module in "${pure_modules[@]}"; do
        echo "pub mod $module;" >>"$crate/src/lib.rs"
        if [ -d "$root/src/$module" ]; then
            cp -r "$root/src/$module" "$crate/src"
        else
            cp "$root/src/$module.rs" "$crate/src"
        fi
    done
    # What tests read.
    ln -sfn "$root/tests" "$crate/tests"
    ln -sfn "$root/models" "$crate/models"
    ln -sfn "$root/.cache/media" "$crate/.cache/media"
}
