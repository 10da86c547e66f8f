# commands.sh: what the tests of commands share, to be sourced from the project's root: programs, an empty
# folder to work in, and checks that count.
# shellcheck shell=sh disable=SC2034,SC2254  # used where this is sourced; patterns
set -u
grpo=$PWD/grpo grpo64=$PWD/grpo64 world=$PWD/build/make_world table=$PWD/build/demo_table \
    example=$PWD/data/reward_example.py
passed=0 failed=0
LC_ALL=C OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive     # idle threads that spin would make a busy machine slow
export LC_ALL OMP_NUM_THREADS OMP_WAIT_POLICY
t=$(mktemp -d "${TMPDIR:-/tmp}/grpo-test.XXXXXX") || exit 2
trap 'chmod -R u+w "$t"; rm -rf "$t"' EXIT
trap 'exit 2' HUP INT TERM
cd "$t" && mkdir io work && cd work || exit 2
out=$t/io/out err=$t/io/err

good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf 'not ok: %s\n' "$*"; }
nap() { sleep 0.05 2> /dev/null || sleep 1; }

# works NAME COMMAND...: exit code 0
works() {
    name=$1; shift
    "$@" > "$out" 2> "$err" < /dev/null; code=$?
    if [ $code -eq 0 ]; then good; else bad "$name: exit code $code: $(tail -n 1 "$err")"; fi
}
# says NAME PATTERN: what the last command printed matches
says() { case $(cat "$out") in $2) good ;; *) bad "$1: found \"$(head -n 3 "$out")\", expected $2" ;; esac; }
# refuses PATTERN COMMAND...: exit code 2 and one line of complaint that matches; before it may stand notes
# ("train: ...", "grpo: ...") and progress
refuses() {
    pattern=$1; shift
    "$@" > "$out" 2> "$err" < /dev/null; code=$?
    line=$(grep -v -e ': needs .* of memory' -e '^[a-fh-z][a-z]*: ' -e '^grpo: accepted ' \
        -e '^grpo: slices ' -e '^grpo: some scores ' -e '^[a-z]* *[0-9]*/[0-9]* ' "$err")
    name="${2-} for $pattern"
    if [ $code -ne 2 ]; then bad "$name: exit code $code, expected 2: $(tail -n 1 "$err")"; return; fi
    if [ -z "$line" ] || [ "$(printf '%s\n' "$line" | wc -l)" -ne 1 ]; then
        bad "$name: expected one line, found: $(cat "$err")"
        return
    fi
    case $line in $pattern) good ;; *) bad "$name: found: $line" ;; esac
}
same() { if cmp -s "$2" "$3"; then good; else bad "$1: $2 and $3 differ"; fi; }
# same_run NAME RUN RUN: every number of the log and the final weights, bit for bit
same_run() {
    "$grpo" compare "$2" "$3" > "$out" 2> "$err"; code=$?
    if [ $code -eq 0 ]; then good
    else
        bad "$1: exit code $code: $(grep -h -e '^first difference' -e '^final' -e '^grpo' "$out" "$err" |
            head -n 2)"
    fi
}
# steps RUN: its log without what it cost
steps() { grep -v '"cost"' "$1/log.jsonl"; }
# killed NAME WHOLE KILLED COMMAND...: kill -9 after some lines of the log, then --resume, gives the run WHOLE
killed() {
    name=$1 whole=$2 run=$3; shift 3
    "$@" --output-dir "$run" > "$out" 2> "$err" & victim=$!
    while kill -0 $victim 2> /dev/null && [ "$(cat "$run/log.jsonl" 2> /dev/null | wc -l)" -lt 12 ]; do
        nap
    done
    kill -9 $victim 2> /dev/null; wait $victim 2> /dev/null
    if [ -d "$run/final" ]; then bad "$name: the run was over before it was killed"; else good; fi
    printf '{"step":1,"step_ti' >> "$run/timing.jsonl"      # as a kill in the midst of writing leaves it
    works "$name --resume" "$@" --output-dir "$run" --resume
    if grep -q -v '^{"step":[0-9]*,.*}$' "$run/timing.jsonl" || grep -q '}{\|ti{' "$run/timing.jsonl"; then
        bad "$name: timing.jsonl holds a broken line: $(grep 'ti{' "$run/timing.jsonl")"
    else good; fi
    same_run "$name: kill -9 and --resume" "$whole" "$run"
    steps "$whole" > a; steps "$run" > b
    same "$name: the log" a b
}
# cost_of RUN: what its log says that it cost: operations, rows, sequences, tokens as predicted are what was
# counted; each kind of memory within a tenth
cost_of() {
    memory='"memory":{\([^}]*\)}'
    sed -n '$s/.*"predicted":\(.*\),'"$memory"'},"measured":\(.*\),'"$memory"'.*/\1\n\3\n\2\n\4/p' \
        "$1/log.jsonl" > cost
    if [ "$(wc -l < cost)" -eq 4 ] && [ "$(sed -n 1p cost)" = "$(sed -n 2p cost)" ] &&
        grep -q '"forward":[1-9]' cost; then good
    else bad "$1: predicted and counted: $(sed -n '1,2p' cost)"; fi
    if sed -n '3,4p' cost | tr ',' ' ' | sed 's/"[a-z]*"://g' | awk '
        { n = NF; for (i = 1; i <= NF; i++) x[NR, i] = $i }
        END {
            for (i = 1; i <= n; i++) {
                d = x[1, i] - x[2, i]; if (d < 0) d = -d
                if (d > 0.1 * x[2, i]) exit 1
            }
            exit n != 8
        }'; then good
    else bad "$1: memory predicted and taken: $(sed -n '3,4p' cost)"; fi
}
# plan_is_log NAME RUN: what info said last is what the log of RUN says, but for memory
plan_is_log() {
    a=$(sed -n 's/.*"predicted":\(.*\),"memory":.*/\1/p' "$out")
    b=$(sed -n '$s/.*"predicted":\(.*\),"memory":.*"measured".*/\1/p' "$2/log.jsonl")
    if [ "$a" = "$b" ] && [ -n "$a" ]; then good; else bad "$1: $a, the run: $b"; fi
}
