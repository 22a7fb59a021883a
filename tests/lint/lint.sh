#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every check that needs no running program: house rules, formatting, clang-tidy, cppcheck, man pages, links of pages in
# Markdown, scripts. All run, then one line says which failed. Arguments pick some: rules format tidy cppcheck man links
# shell python.
#
# CPP_FLAGS and FUSE_FLAGS come from the Makefile, so that C files are read as they are compiled.
set -u
shopt -s nullglob
cd "$(dirname "$0")/../.." || exit 1

failed=()
common=(common/*.c)
host=(host-agent/*.c)
guest=(guest-agent/*.c)
tests=(tests/unit/*.c tests/fuzz/*.c tests/posix/*.c)
headers=(common/*.h host-agent/*.h guest-agent/*.h tests/unit/*.h tests/fuzz/*.h tests/posix/*.h)

check_rules() {
    python3 -B tests/lint/house.py
}

check_format() {
    local files=("${common[@]}" "${host[@]}" "${guest[@]}" "${tests[@]}" "${headers[@]}")
    [ "${#files[@]}" = 0 ] || clang-format --dry-run -Werror "${files[@]}"
}

# tidy FLAGS FILE...: two at a time, a file each.
tidy() {
    local flags=$1
    shift
    [ $# = 0 ] && return
    # shellcheck disable=SC2086 # flags are words
    printf '%s\n' "$@" | xargs -P 2 -I FILE clang-tidy --quiet FILE -- -std=gnu17 '-DHOMEPORT_VERSION="0"' \
        $CPP_FLAGS $flags 2> >(
        grep -v -e 'warnings\? generated' -e 'warnings\? treated as error' >&2
    )
}

check_tidy() {
    local status=0
    tidy "-iquote common" "${common[@]}" || status=1
    tidy "-iquote common -iquote host-agent" "${host[@]}" || status=1
    tidy "$FUSE_FLAGS" "${guest[@]}" || status=1
    return $status
}

check_cppcheck() {
    local files=("${common[@]}" "${host[@]}" "${guest[@]}") queue
    queue=$(gcc -E -M -include sys/queue.h -xc /dev/null | grep -o '/[^ ]*/sys/queue\.h')  # its macros, of all of libc
    [ "${#files[@]}" = 0 ] || cppcheck -q -j 2 --error-exitcode=1 --inline-suppr --std=c11 --include="$queue" \
        --enable=warning,performance,portability --suppress=missingIncludeSystem \
        --suppress=internalAstError \
        -D_GNU_SOURCE -DHOMEPORT_VERSION='"0"' -Icommon -Ihost-agent -Iguest-agent "${files[@]}"
}

check_man() {
    local pages=(host-agent/*.[1-8] guest-agent/*.[1-8])
    [ "${#pages[@]}" = 0 ] || mandoc -T lint -W warning "${pages[@]}"
}

check_links() {
    python3 -B tests/lint/links.py
}

check_shell() {
    mapfile -t scripts < <(git ls-files | grep -e '\.sh$' -e '\.bash-completion$' -e '^\.ci/run$' \
        -e '^debian/.*\.\(pre\|post\)\(inst\|rm\)$')
    shellcheck "${scripts[@]}"
}

check_python() {
    git ls-files '*.py' | xargs -r python3 -B -c '
import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name).read(), name)'
}

[ $# -gt 0 ] || set -- rules format tidy cppcheck man links shell python
for check in "$@"; do
    echo "lint: $check"
    "check_$check" || failed+=("$check")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "lint: failed: ${failed[*]}"
    exit 1
fi
echo "lint: clean"
