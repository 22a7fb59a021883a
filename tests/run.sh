#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Runs kinds of tests (unit, fuzz, vm, e2e) on what is built in $BUILD and closes with one summary. A kind that fails
# does not keep the next from running; the exit status is non-zero if any did. Arguments after the last, `e2e` or `vm`,
# go to pytest.
set -u

build=${BUILD:-build}
python=${PYTHON:-/usr/bin/python3}
failed=0
summary=()

# cmocka catches SIGSEGV and would hide the sanitizer's trace.
export ASAN_OPTIONS="handle_segv=2:detect_leaks=1:abort_on_error=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"

seconds_since() {
    awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'
}

# run_each KIND NAME...: one line a test, and the output of those that fail. One at a time: some of them measure time.
run_each() {
    local kind=$1 good=0 bad=0 from=$EPOCHREALTIME log name began
    shift
    mkdir -p "$build/log"
    for name in "$@"; do
        log=$build/log/$name
        began=$EPOCHREALTIME
        if "run_$kind" "$name" >"$log" 2>&1; then
            good=$((good + 1))
            printf '%-5s ok    %-28s %ss\n' "$kind" "$name" "$(seconds_since "$began")"
        else
            bad=$((bad + 1))
            printf '%-5s FAIL  %s\n' "$kind" "$name"
            sed 's/^/    /' "$log"
        fi
    done
    [ "$bad" = 0 ] || failed=1
    summary+=("$(printf '%-5s %d passed, %d failed, %ss' "$kind" "$good" "$bad" "$(seconds_since "$from")")")
}

# Each in a network of its own where that is possible: what others listen on, a test must not see or collide with.
# shellcheck disable=SC2317 # called by name
run_unit() {
    local alone=()
    [ "$(id -u)" != 0 ] || alone=(unshare --net -- sh -c 'ip link set lo up; exec "$@"' sh)
    "${alone[@]}" timeout -k 5 120 "$build/unit/$1"
}

# shellcheck disable=SC2317 # called by name
run_fuzz() {
    timeout -k 5 120 "$build/replay/$1" "tests/fuzz/corpus/${1#fuzz_}"
}

# names FILE...: the base names of C files.
names() {
    local f
    for f in "$@"; do
        basename "$f" .c
    done
}

# All of them on all processors, a module with its lab on one; some of them in the order they stand in.
run_e2e() {
    local from=$EPOCHREALTIME report=$build/e2e.summary share=()
    [ $# -gt 0 ] || share=(-p xdist -n "$(nproc)" --dist loadfile)
    rm -f "$report"
    mkdir -p "$build"
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 HOMEPORT_BUILD=$(realpath "$build") HOMEPORT_E2E_REPORT=$(realpath -m "$report") \
        "$python" -B -m pytest -p no:cacheprovider -q -ra --durations=5 "${share[@]}" tests/e2e "$@" || failed=1
    summary+=("$(printf 'e2e   %s, %ss' "$(cat "$report" 2>/dev/null || echo 'no report: pytest did not end')" \
        "$(seconds_since "$from")")")
}

# In the order they stand in, each told as it ends. Root makes the image, and /dev/kvm is root's.
run_vm() {
    local from=$EPOCHREALTIME report=$build/vm.summary
    if [ "$(id -u)" != 0 ]; then
        summary+=("vm    left out (needs root)")
        return
    fi
    rm -f "$report"
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 HOMEPORT_BUILD=$(realpath "$build") HOMEPORT_VM_REPORT=$(realpath -m "$report") \
        "$python" -B -m pytest -p no:cacheprovider -v --durations=5 tests/vm "$@" || failed=1
    summary+=("$(printf 'vm    %s, %ss' "$(cat "$report" 2>/dev/null || echo 'no report: pytest did not end')" \
        "$(seconds_since "$from")")")
}

shopt -s nullglob
while [ $# -gt 0 ]; do
    kind=$1
    shift
    case $kind in
    unit)
        mapfile -t tests < <(names tests/unit/test_*.c)
        run_each unit "${tests[@]}"
        ;;
    fuzz)
        mapfile -t tests < <(names tests/fuzz/fuzz_*.c)
        run_each fuzz "${tests[@]}"
        ;;
    vm)
        if [ "${1:-}" = e2e ]; then
            run_vm
        else
            run_vm "$@"
            break
        fi
        ;;
    e2e)
        run_e2e "$@"
        break
        ;;
    *)
        echo "tests/run.sh: unknown kind of test: $kind (unit, fuzz, vm, e2e)" >&2
        exit 2
        ;;
    esac
done

echo
echo "--- summary"
printf '%s\n' "${summary[@]}"
if [ "$failed" = 0 ]; then
    echo "all tests passed"
else
    echo "TESTS FAILED"
fi
exit "$failed"
