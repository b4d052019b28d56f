# Shared by the scripts beside it; sourced, not run. Everything here writes inside the build folder, apart
# from the Debian packages that it installs.
# shellcheck shell=bash

set -euo pipefail
export LC_ALL=C.UTF-8

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
logs=$build/logs
# Compilers, pip and tests put their temporary files and caches here and not into the user's home.
export TMPDIR=$build/tmp
export CCACHE_DIR=${CCACHE_DIR:-$build/ccache}
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
export DEBIAN_FRONTEND=noninteractive

torch_version=2.13.0
needed_gib=4

say() { printf '%s\n' "$*"; }

# Ends the script with a sentence that says what is wrong and what to do.
die() {
    printf '\n%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# step "What is done" command...: runs the command, prints how long it took.
step() {
    local title=$1 start=$SECONDS status=0
    shift
    say ""
    say "== $title"
    "$@" || status=$?
    if ((status != 0)); then
        disk_full && die "$title failed because the disk is full: free some space and run this again."
        die "$title failed (exit status $status). What went wrong is written above."
    fi
    say "   done in $((SECONDS - start)) s"
}

# quietly <log name> command...: keeps the output in a file and shows its end only if the command fails.
quietly() {
    local log=$logs/$1.log
    shift
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        say "   the whole log: $log" >&2
        return 1
    fi
}

free_mib() { df -Pm "$build" | awk 'NR == 2 { print $4 }'; }
disk_full() { (($(free_mib) < 64)); }

prepare_folders() {
    mkdir -p "$logs" "$TMPDIR" "$CCACHE_DIR" 2>/dev/null \
        || die "cannot write to $build: check its owner and whether the disk is full."
    local built=0
    [[ -e $build/release/build.ninja ]] && built=1
    if ((built == 0 && $(free_mib) < needed_gib * 1024)); then
        die "the disk has $(free_mib) MiB free below $root, and the first build needs about" \
            "$needed_gib GiB: free some space and run this again."
    fi
}

# What the library, its tests, examples and command line program need.
build_packages=(
    build-essential ca-certificates ccache cmake ninja-build python3 python3-venv
    catch2 curl libarchive-dev libboost1.81-dev libcli11-dev libcurl4-openssl-dev libicu-dev
    libjpeg-dev libpcre2-dev libpng-dev libsimdjson-dev libssl-dev libwebp-dev nlohmann-json3-dev
)
# What the checks of .ci/run and scripts/test-long need on top.
# shellcheck disable=SC2034  # used by the scripts that source this one
check_packages=(clang-16 clang-format-16 clang-tidy-16 libbenchmark-dev libclang-rt-16-dev shellcheck)

is_debian_12() {
    # shellcheck source=/dev/null
    [[ -r /etc/os-release ]] && (. /etc/os-release && [[ ${ID:-} == debian && ${VERSION_ID:-} == 12 ]])
}

missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo -n --preserve-env=DEBIAN_FRONTEND "$@"
    fi
}

apt_install() {
    # Another apt may be at work on a machine that has just started.
    local options=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq)
    as_root apt-get "${options[@]}" update \
        && as_root apt-get "${options[@]}" install -y --no-install-recommends "$@"
}

# need_packages package...: installs what is missing, or says why it cannot.
need_packages() {
    command -v dpkg-query >/dev/null \
        || die "this script installs what it needs on Debian 12, and this is another system. Install a" \
            "C++20 compiler, CMake, Ninja and the libraries named in the README, then build by hand."
    local missing
    mapfile -t missing < <(missing_packages "$@")
    if ((${#missing[@]} == 0)); then
        say "   all ${#} Debian packages are here"
        return
    fi
    is_debian_12 \
        || die "this script installs packages on Debian 12 only, and this is another system. Missing here:" \
            "${missing[*]}. Install them or their equivalents, then run this again."
    if ((EUID != 0)); then
        command -v sudo >/dev/null \
            || die "these packages are missing and there is no sudo: ${missing[*]}. Run this as root, or" \
                "have them installed first."
        sudo -n true 2>/dev/null \
            || die "these packages are missing and sudo asks for a password: ${missing[*]}. Run 'sudo -v'" \
                "first, or have them installed."
    fi
    say "   installing ${missing[*]}"
    quietly apt apt_install "${missing[@]}" \
        || die "apt-get could not install: ${missing[*]}. Is there a network, and a working mirror in" \
            "/etc/apt/sources.list?"
}

need_compiler() {
    local compiler=${CXX:-g++} version
    command -v "$compiler" >/dev/null || die "the compiler $compiler (from CXX) was not found."
    version=$("$compiler" -dumpfullversion -dumpversion)
    case $("$compiler" --version | head -n 1) in
        *clang*) need_version "$compiler" "$version" 14 ;;
        *) need_version "$compiler" "$version" 12.2 ;;
    esac
}

need_version() {
    [[ $(printf '%s\n' "$3" "$2" | sort -V | head -n 1) == "$3" ]] \
        || die "$1 is version $2, and modelpool needs $3 or later."
}

# Prints the libtorch folder that one entry of Torch_DIR or CMAKE_PREFIX_PATH stands for. CMake looks at the
# same places: cmake/modelpool_dependencies.cmake.
libtorch_at() {
    local candidate
    for candidate in "$1" "$1/../.." "$1/../../.." "$1"/lib/python3*/site-packages/torch; do
        [[ -e $candidate/lib/libtorch_cpu.so ]] && { realpath "$candidate"; return; }
    done
    return 1
}

named_libtorch() {
    local entry
    local -a entries
    IFS=':;' read -r -a entries <<<"${Torch_DIR:-}:${CMAKE_PREFIX_PATH:-}"
    for entry in "${entries[@]}"; do
        [[ -n $entry ]] && libtorch_at "$entry" && return
    done
    return 1
}

# The libtorch that the environment names, or else the one of a wheel in build/python.
need_libtorch() {
    local named venv=$build/python
    if named=$(named_libtorch); then
        say "   using $named"
        return
    fi
    [[ -z ${Torch_DIR:-} ]] || die "Torch_DIR is $Torch_DIR, and no libtorch is there: it must be a folder" \
        "that holds include/ and lib/libtorch_cpu.so, or its share/cmake/Torch."
    if [[ $(cat "$venv/.torch" 2>/dev/null) == "$torch_version" ]]; then
        say "   torch $torch_version is in build/python already"
        return
    fi
    rm -rf "$venv"
    quietly venv /usr/bin/python3 -m venv "$venv" || die "the Python environment could not be made."
    install_torch "$venv" || die "the torch wheel could not be installed. Is there a network? A libtorch" \
        "that is here already is used when Torch_DIR names its folder."
    echo "$torch_version" >"$venv/.torch"
}

# The CPU wheel where pip's indexes have one. The default wheel's CPU half links two small CUDA libraries,
# which the packages that it names bring; the gigabytes of the GPU half are left out.
install_torch() {
    local pip=("$1/bin/python" -m pip install --quiet --no-compile) requirement
    if quietly torch-cpu "${pip[@]}" --no-deps "torch==$torch_version+cpu" 2>/dev/null; then
        say "   installed torch $torch_version, the CPU build"
        return
    fi
    quietly torch "${pip[@]}" --no-deps "torch==$torch_version" || return 1
    if missing_libraries "$1" | grep -q .; then
        requirement=$("$1/bin/python" "$root/scripts/torch_requirement.py") || return 1
        quietly torch-libraries "${pip[@]}" "$requirement" || return 1
    fi
    if missing_libraries "$1" | grep .; then
        say "   libtorch_cpu.so of this wheel needs the libraries above" >&2
        return 1
    fi
    say "   installed torch $torch_version, the default build"
}

missing_libraries() { ldd "$1"/lib/python3*/site-packages/torch/lib/libtorch_cpu.so | grep 'not found' || true; }

# A unit that includes libtorch takes up to 2 GiB to compile.
jobs() {
    local by_memory
    by_memory=$(awk '/^MemAvailable/ { print int($2 / 2097152) }' /proc/meminfo)
    ((by_memory >= 1)) || by_memory=1
    if ((by_memory < $(nproc))); then echo "$by_memory"; else nproc; fi
}

# build_preset <preset> [<target>...]
build_preset() {
    local preset=$1
    shift
    (cd "$root" && quietly "configure-$preset" cmake --preset "$preset") \
        || die "CMake could not configure the build. Its last lines are above."
    cmake --build "$build/$preset" --parallel "$(jobs)" ${1+--target "$@"}
}

# run_fuzz <target> <seconds>: keeps the corpus, so that the next run goes on from it. A slow input and a
# large allocation count as failures, as a crash does.
run_fuzz() {
    local name corpus
    name=$(basename "$1")
    corpus=$build/corpus/$name
    mkdir -p "$corpus"
    quietly "$name" "$1" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/corpus/$name-" "$corpus"
}

need_everything() {
    prepare_folders
    step "Debian packages" need_packages "${build_packages[@]}"
    need_compiler
    step "libtorch $torch_version" need_libtorch
}
