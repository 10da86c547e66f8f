#!/bin/sh
# fuzz.sh SECONDS [READER...]: libFuzzer on the readers of tests/parsers.h (all but answers, which starts a
# process a reading), that many seconds each, as many at once as there are cores, from $SEED (0: another one
# each time). Its own seeds are tests/fuzz/READER, what it finds out stays in build/fuzz/corpus. A finding is
# kept as build/fuzz/READER-crash-..., and belongs into tests/fuzz/READER once it is mended: test_fuzz reads
# it in every `make test`.
cd "$(dirname "$0")/.." || exit 2
seconds=$1; shift
if [ $# -eq 0 ]; then
    for folder in tests/fuzz/*; do [ "$folder" = tests/fuzz/answers ] || set -- "$@" "${folder##*/}"; done
fi
ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
export ASAN_OPTIONS UBSAN_OPTIONS

# one READER: in parts of a minute, for a data set lives as long as its process
one() {
    log=build/fuzz/$1.log left=$seconds done_=0
    mkdir -p "build/fuzz/corpus/$1"; : > "$log"
    while [ "$left" -gt 0 ]; do
        part=$((left < 60 ? left : 60)) left=$((left - 60))
        READER=$1 READER_FOLDER=build/fuzz/at-$$ build/fuzz/reader -max_total_time=$part -seed="${SEED:-0}" \
            -print_final_stats=1 -timeout=20 -rss_limit_mb=4096 -artifact_prefix="build/fuzz/$1-" \
            "build/fuzz/corpus/$1" "tests/fuzz/$1" >> "$log" 2>&1 || left=-1
        done_=$(awk '/^stat::number_of_executed_units:/ { n += $2 } END { print n + 0 }' "$log")
    done
    rm -rf "build/fuzz/at-$$"
    if [ "$left" -eq -1 ]; then
        printf '%-18s %10s executions, a finding: %s\n' "$1" "$done_" \
            "$(grep -a -m 1 -e 'Test unit written' -e ': READER=' "$log")"
    else printf '%-18s %10s executions, no finding\n' "$1" "$done_"; fi
}
if [ "${FUZZ_ONE-}" ]; then one "$1"; exit; fi
printf '%s\n' "$@" |
    FUZZ_ONE=1 xargs -P "$(getconf _NPROCESSORS_ONLN)" -n 1 sh tests/fuzz.sh "$seconds" > build/fuzz/verdicts
sort build/fuzz/verdicts
awk '/no finding$/ { good++; next }
     { bad++ }
     END { printf "%d passed, %d failed\n", good, bad; exit bad > 0 || !good }' build/fuzz/verdicts
