# Shared by the scripts of this folder; sourced, not run.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -t 1 ]]; then bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else bold='' green='' red='' plain=''; fi

say() { printf '%s\n' "$*"; }
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() { printf '%s%s: %s%s\n' "$red" "$(basename "$0")" "$*" "$plain" >&2; exit 1; }

# What this repository needs from the machine: Linux, Rust with Cargo, and a C linker.
need_rust() {
    [[ "$(uname -s)" == Linux ]] || fail "Steadfast runs on Linux only"
    command -v cargo >/dev/null ||
        fail "cargo is missing: install Rust from https://rustup.rs, or run: apt install cargo"
    command -v cc >/dev/null ||
        fail "Rust needs a C linker: apt install gcc libc6-dev"
}
