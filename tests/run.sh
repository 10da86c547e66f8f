#!/bin/sh
# run.sh PROGRAM...: runs each test program from the root of the project, adds up their verdicts, and ends
# with one line "N passed, N failed". A program that dies or says nothing counts as a failure.
OMP_WAIT_POLICY=passive         # idle threads that spin would make a busy machine slow
export OMP_WAIT_POLICY
passed=0 failed=0
for program in "$@"; do
    case $program in *.sh) output=$(sh "$program" 2>&1) ;; *) output=$("$program" 2>&1) ;; esac
    code=$?
    verdict=$(printf '%s\n' "$output" | tail -n 1)
    case $verdict in
        *' passed, '*' failed')
            p=${verdict%% passed,*}; f=${verdict##*, }; f=${f%% failed}
            [ "$code" -ne 0 ] && [ "$f" -eq 0 ] && f=1 ;;
        *) p=0 f=1 ;;
    esac
    [ "$f" -ne 0 ] && printf '%s\n' "$output" | tail -n 40
    printf '%-44s %s passed, %s failed%s\n' "$program" "$p" "$f" \
        "$([ "$code" -gt 1 ] && echo " (exit code $code)")"
    passed=$((passed + p)) failed=$((failed + f))
done
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
