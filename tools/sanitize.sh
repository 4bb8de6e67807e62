#!/usr/bin/env bash
# Builds with sanitizers and runs tests on that build; docs/sanitizers.md says more.
#   tools/sanitize.sh [address [pytest's arguments] | thread]
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-address}
python=${PYTHON:-python}
compiler=${CC:-gcc}
scratch=${CNNLIB_SANITIZE_DIR:-$(mktemp -d)}
[ -n "${CNNLIB_SANITIZE_DIR:-}" ] || trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"

# ThreadSanitizer wants all code that touches shared memory compiled for it: a program in C, the portable kernels.
if [ "$kind" = thread ]; then
    sources="tests/race.c csrc/dispatch.c csrc/parallel.c csrc/drivers/f32.c csrc/isa/baseline.c"
    "$compiler" -std=gnu11 -O1 -g -w -ffp-contract=off -fsanitize=thread -Icsrc $sources -o "$scratch/race" -lm -pthread
    TSAN_OPTIONS=halt_on_error=1:exitcode=66 "$scratch/race"
    exit
fi
[ "$kind" = address ] || { echo "sanitize.sh: '$kind' is neither address nor thread" >&2; exit 2; }

CNNLIB_SANITIZE=address,undefined,float-cast-overflow "$python" setup.py --quiet build --build-base "$scratch" \
    --build-lib "$scratch/lib" >"$scratch/build.log" 2>&1 || { tail -30 "$scratch/build.log" >&2; exit 1; }

# Python keeps memory until it ends, which is no leak. The reserve of the allocator is beyond any limit of address space.
export PYTHONPATH=$scratch/lib CNNLIB_SANITIZED=1
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
run() { # python with the sanitizers' runtime, and the package of that build, not the checkout's
    LD_PRELOAD=$("$compiler" -print-file-name=libasan.so) "$python" -c "import sys; sys.path.remove(''); $1" "${@:2}"
}
pytest() { run "import pytest; sys.exit(pytest.main())" -q -p no:cacheprovider "$@"; }

if [ $# -gt 1 ]; then
    pytest "${@:2}"
    exit
fi
pytest tests/test_kernels_*.py tests/test_depthwise.py # on every instruction set
for isa in $(run "from cnnlib import _kernels; print(*_kernels.isa_supported())"); do
    echo "=== $isa"
    CNNLIB_ISA=$isa pytest tests/test_layers*.py tests/test_plan.py tests/test_lowering.py tests/test_updates.py \
        tests/test_functional_errors.py tests/test_losses.py tests/test_optim.py tests/test_norms.py
done
