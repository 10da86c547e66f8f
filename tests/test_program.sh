#!/bin/sh
# test_program.sh: programs that score as adversaries: what is told of each, that none is waited for longer
# than --reward-timeout, and that nothing of it is left. Run from the project's root by `make test`.
. tests/commands.sh
cat > rows.jsonl <<'ROWS'
{"prompt": "two and two?", "completion": "4", "answer": 4, "uid": 9007199254740993}
{"prompt": "two and three?", "completion": "6", "answer": 5, "uid": 9007199254740995}
{"prompt": "one and one?", "completion": "2", "answer": 2, "uid": 1.10}
ROWS
# by PATTERN PROGRAM: score with --reward-cmd PROGRAM
by() { refuses "$1" "$grpo" score --dataset rows.jsonl --reward-timeout 1 --reward-cmd "$2"; }
# answers SCORE: a program that answers with it, after two trial lines with 0
answers() {
    echo "i=0; while read -r l; do s=0; [ \$i -lt 2 ] || s='$1'; \
echo \"{\\\"id\\\":\$i,\\\"scores\\\":{\\\"a\\\":\$s}}\"; i=\$((i + 1)); done"
}
# gone NAME FILE: the process whose number FILE holds is there no more, a second later at most
gone() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -s "$2" ] && ! kill -0 "$(cat "$2")" 2> /dev/null && { good; return; }
        nap
    done
    bad "$1: lives on as process $(cat "$2")"; kill -9 "$(cat "$2")" 2> /dev/null
}

# ---- trial lines are rows of the data, and numbers pass as they are written ------------------------
cat > reads_a_column <<'PROGRAM'
i=0
while read -r line; do
    echo "$line" >> seen
    case $line in *'"answer":4'*) s=1 ;; *'"answer":'*) s=0.5 ;; *) echo 'no answer' >&2; exit 1 ;; esac
    echo "{\"id\":$i,\"scores\":{\"right\":$s}}"; i=$((i + 1))
done
PROGRAM
works 'a program that reads a column' "$grpo" score --dataset rows.jsonl --reward-cmd 'sh reads_a_column'
says 'numbers as they are written' '*"uid":9007199254740993,*"uid":9007199254740995,*"uid":1.10,*'
grep -c '"uid":9007199254740993' seen > n
[ "$(cat n)" -eq 2 ] && grep -q '"uid":1.10' seen && good || bad "numbers for the program: $(cat seen)"
printf '{"prompt": "a", "completion": "b"}\n' > plain.jsonl
refuses '*the program ended (exit code 1)*line 0 that it got, a trial with plain.jsonl:1' \
    "$grpo" score --dataset plain.jsonl --reward-cmd 'sh reads_a_column 2> /dev/null'

# a prompt alone gets a made-up reply for the trial
$world sft --n 300 --seed 1 > words.jsonl
works init "$grpo" init --tokenizer-data words.jsonl --output-dir base --hidden-size 16 \
    --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
printf '{"prompt": "hi"}\n' > prompt.jsonl
refuses '*the program ended (exit code 1)*line 0 that it got, '\
'a trial with a made-up reply to prompt.jsonl:1' \
    "$grpo" eval --policies base --dataset prompt.jsonl --max-completion-length 4 \
    --reward-cmd 'sh reads_a_column 2> /dev/null'

# ---- answers that are none: what to do ---------------------------------------------------------------
by '*found NaN*write null where there is no score*rows.jsonl:1' "$(answers NaN)"
by '*found 1e+308, expected a number of at most 1e+30 in size*rows.jsonl:1' "$(answers 1e308)"
by '*found -1e+39, expected*rows.jsonl:1' "$(answers -1e39)"
by '*label "a": found boolean, expected a number or null*' "$(answers true)"
by '*print to stderr what is no answer*a trial*' 'read -r l; echo "Loading the judge ..."; sleep 9'
by "*write JSON (Python: json.dumps)*" "read -r l; echo \"{'id': 0, 'scores': {'a': 1}}\"; sleep 9"
by '*label "": expected a name of 1 to 63 bytes*' 'read -r l; echo "{\"id\":0,\"scores\":{\"\":1}}"; sleep 9'
works 'as large as a score may be' "$grpo" score --dataset rows.jsonl --reward-cmd "$(answers 1e30)"

# ---- programs that do not answer: each ends within --reward-timeout and what the ending takes --------
by '*silent for 1 seconds; does it flush*' 'sleep 60'
by '*no end of line for 1 seconds behind "{"id":0,"scores":{"a":1}}"*' \
    'read -r l; printf "{\"id\":0,\"scores\":{\"a\":1}}"; sleep 60'
by '*no end of line for 1 seconds behind "xx*' 'while :; do printf x; sleep 0.2 2> /dev/null || sleep 1; done'
by '*closed its input or output and went on, and was ended*' 'exec > /dev/null; sleep 60'
by '*wrote 1048576 bytes without the end of a line*' \
    'while :; do printf "0123456789012345678901234567890123456789012345678901234567890123456789"; done'
by '*answered id 0 to line 1*' 'while :; do echo "{\"id\":0,\"scores\":{\"a\":1}}"; done'
# a line longer than a pipe holds, to a program that reads nothing
awk 'BEGIN {
    printf "{\"prompt\": \"a\", \"completion\": \"b\", \"blob\": \""
    for (i = 0; i < 300000; i++) printf "x"
    print "\"}"
}' > long.jsonl
refuses '*did not read its line for 1 seconds, * bytes of it are left*long.jsonl:1' \
    "$grpo" score --dataset long.jsonl --reward-timeout 1 --reward-cmd 'sleep 60'
# and one that answers while it reads, more than a pipe holds: neither waits for the other
works 'both pipes full' "$grpo" score --dataset long.jsonl --reward-timeout 5 --reward-cmd \
    'i=0; while read -r l; do echo "{\"id\":$i,\"scores\":{\"a\":1},\"l\":\"$l\"}" | tr -d "{}:" | '\
'sed "s/.*/{\"id\":$i,\"scores\":{\"a\":1}}/"; i=$((i + 1)); done'

# ---- nothing of it is left ---------------------------------------------------------------------------
cat > stubborn <<'PROGRAM'
trap '' TERM HUP INT
echo $$ > stubborn.pid
(
    trap '' TERM HUP; echo "$(exec sh -c 'echo $PPID')" > forked.pid
    while :; do sleep 1; done > /dev/null 2>&1
) &
i=0
while read -r l; do
    [ $i -lt 2 ] || a=${1-a}
    echo "{\"id\":$i,\"scores\":{\"${a-a}\":$i}}"; i=$((i + 1))
done
while :; do sleep 1; done > /dev/null 2>&1
PROGRAM
works 'a program that ignores SIGTERM and forks' "$grpo" score --dataset rows.jsonl \
    --reward-cmd 'sh stubborn; true'
gone 'a program that ignores SIGTERM' stubborn.pid
gone 'what it started' forked.pid
rm -f ./*.pid
by '*unknown label "b"*' 'sh stubborn b'
gone 'a program behind an error' stubborn.pid
if command -v setsid > /dev/null && [ -d /proc/self ]; then
    works 'a program that leaves its group' "$grpo" score --dataset rows.jsonl --reward-cmd "setsid sh -c \
'echo \$\$ > far.pid; trap \"\" TERM; while :; do sleep 1; done > /dev/null 2>&1' & $(answers 1)"
    gone 'what left the group' far.pid
fi
rm -f ./*.pid
"$grpo" score --dataset rows.jsonl --reward-timeout 60 \
    --reward-cmd 'echo $$ > killed.pid; trap "" TERM HUP; while :; do sleep 1; done' \
    > "$out" 2> "$err" & victim=$!
while [ ! -s killed.pid ]; do nap; done
kill -9 $victim; wait $victim 2> /dev/null
for _ in 1 2 3 4 5; do kill -0 "$(cat killed.pid)" 2> /dev/null && sleep 1; done
gone 'after kill -9 of grpo' killed.pid

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
