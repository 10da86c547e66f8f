#!/bin/sh
# test_bench.sh: `grpo bench` tells every work completely and possibly: numbers finite and positive, no share
# of a peak above 1. How fast it is, no test says. Run from the project's root by `make test`.
. tests/commands.sh

# refuses PATTERN COMMAND...: exit code 2 and one line that matches, with nothing beside it
refuses() {
    pattern=$1; shift
    "$@" > out 2> err < /dev/null; code=$?
    line=$(cat err)
    if [ $code -ne 2 ] || [ "$(printf '%s\n' "$line" | wc -l)" -ne 1 ]; then
        bad "for $pattern: exit code $code: $line"; return
    fi
    case $line in $pattern) good ;; *) bad "for $pattern: found: $line" ;; esac
}
# member FILE WORK KEY: a number of the JSON, "" if it is not there
member() { sed -n 's/.*"'"$2"'":{\([^}]*\)}.*/,\1,/p' "$1" | sed -n 's/.*,"'"$3"'":\([^,]*\),.*/\1/p'; }
# holds WORK KEY TEST: an awk condition on the number x
holds() {
    x=$(member out "$1" "$2")
    if printf '%s\n' "$x" |
        awk '{ x = $1 + 0; if ($1 !~ /^[0-9.e+-]+$/ || !('"$3"')) exit 1 }'; then good
    else bad "$1: $2: found \"$x\", expected $3"; fi
}

$world sft --n 200 --seed 1 > sft.jsonl
"$grpo" init --tokenizer-data sft.jsonl --output-dir m --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420 > out || bad "init"
small="--batch 3 --length 20 --prompts 2 --num-generations 3 --prompt-length 9 --completion-length 6 \
--repeats 3"
for program in "$grpo" "$grpo64"; do
    # shellcheck disable=SC2086
    if "$program" bench --model m $small --json > out 2> err; then good; else bad "bench: $(cat err)"; fi
    for w in prefill decode decode_one score train optimiser grpo; do
        for key in seconds seconds_min seconds_max tokens_per_second; do holds $w $key 'x > 0'; done
        if [ "$(uname)" = Linux ]; then holds $w memory_bytes 'x > 1e6 && x < 1e9'; fi
    done
    for w in prefill decode decode_one score train grpo; do
        holds $w gflops 'x > 0'; holds $w share_of_fma_peak 'x > 0 && x <= 1.05'
    done
    for w in decode decode_one optimiser; do
        holds $w gigabytes_per_second 'x > 0'; holds $w share_of_read_peak 'x > 0 && x <= 1.05'
    done
done
"$grpo" bench --model m --works score,train > out 2> err
case $(cat out) in
    *multiply-adds*score*GFLOP/s*train*GFLOP/s*) good ;;
    *) bad "as text: $(cat out err)" ;;
esac
case $(cat out) in *prefill*|*decode*) bad "--works: found others too: $(cat out)" ;; *) good ;; esac

# turns: a line for a line; the loss falls, and the same tokens give the same loss in both builds
printf 'tell train\ntrain\ntrain\nscore\ntell grpo\n'\
'product nt 5 7 3 2 4\nproduct nn 5 7 3 2 4\nproduct tn 5 7 3 2 4\nmachine 1\n' > lines
# shellcheck disable=SC2086
"$grpo" bench --model m $small --learning-rate 1e-2 --turns < lines > turns 2> err || bad "turns: $(cat err)"
# shellcheck disable=SC2086
"$grpo64" bench --model m $small --learning-rate 1e-2 --turns < lines > turns64 2> err ||
    bad "turns: $(cat err)"
if [ "$(wc -l < turns)" -eq 9 ]; then good; else bad "turns: $(wc -l < turns) answers to 9 lines"; fi
loss() { sed -n "$2"'s/.*"loss":\([^,]*\),.*/\1/p' "$1"; }
if printf '%s %s %s\n' "$(loss turns 1)" "$(loss turns 2)" "$(loss turns 3)" |
    awk '{ exit !($1 > $2 && $2 > $3 && $3 > 1) }'; then good
else bad "turns: the loss does not fall"; fi
if printf '%s %s\n' "$(loss turns 3)" "$(loss turns64 3)" |
    awk '{ d = $1 - $2; exit !(d < 1e-4 && d > -1e-4) }'; then good
else bad "turns: losses of the builds differ"; fi
check() { sed -n 's/.*"check":\([^,}]*\)[,}].*/\1/p' "$1" | tr '\n' ' '; }
if [ "$(check turns)" = "$(check turns64)" ] && [ "$(check turns | wc -w)" -eq 3 ]; then good
else bad "turns: products: $(check turns), in double $(check turns64)"; fi
case $(sed -n 1p turns) in
    *'"batch":[['*'"prompts":[]'*) good ;;
    *) bad "turns: tell train does not tell its batch" ;;
esac
case $(sed -n 5p turns) in
    *'"prompts":[['*'"completions":[['*'"advantages":['*) good ;;
    *) bad "turns: tell grpo does not tell its completions" ;;
esac

refuses '*bench: --model: not given*' "$grpo" bench
refuses '*nowhere*not*' "$grpo" bench --model nowhere
refuses '*--works: found "trian"*did you mean "train"*' "$grpo" bench --model m --works score,trian
refuses '*the context of m holds 112 tokens*' "$grpo" bench --model m --length 113
refuses '*the context of m holds 112 tokens*' "$grpo" bench --model m --prompt-length 100
refuses '*--num-generations 1*at least*' "$grpo" bench --model m --num-generations 1
refuses '*at most 1e8 tokens*' "$grpo" bench --model m --batch 10000000
refuses '*--repeats 0*' "$grpo" bench --model m --repeats 0
refuses '*--threads -1*' "$grpo" bench --model m --threads -1
refuses '*--temperature 0*' "$grpo" bench --model m --temperature 0
echo 'product xx 1 1 1 1 1' | "$grpo" bench --model m --turns > out 2> err; code=$?
case $code:$(cat err) in
    2:*'expected product nt|nn|tn m n k copies times'*) good ;;
    *) bad "turns: a product of no kind: $code: $(cat err)" ;;
esac
echo 'sing' | "$grpo" bench --model m --turns > out 2> err; code=$?
case $code:$(cat err) in
    2:*'found "sing"'*) good ;;
    *) bad "turns: an unknown work: $code: $(cat err)" ;;
esac

# ---- info --run foretells a run's memory within 20 %: its plan against the largest size that Linux saw ----
# peak COMMAND...: runs it and sets $peak to the most it held, in bytes; that is reached long before the run
# ends
peak() {
    "$@" > out 2> err < /dev/null & pid=$!
    peak=0
    while kill -0 $pid 2> /dev/null; do
        kib=$(sed -n 's/VmHWM:[[:space:]]*\([0-9]*\).*/\1/p' /proc/$pid/status 2> /dev/null)
        [ -n "$kib" ] && peak=$((kib * 1024))
        sleep 0.02 2> /dev/null || sleep 1
    done
    wait $pid || bad "$2: $(cat err)"
}
# foretold COMMAND OPTION...
foretold() {
    if ! "$grpo" info --run "$@" --json > out 2> err; then bad "info --run $1: $(cat err)"; return; fi
    plan=$(sed -n 's/.*"memory_bytes":\([0-9]*\),.*/\1/p' out)
    case $(cat out) in
        *'"step_seconds":'[0-9]*'"seconds":'[0-9]*) good ;;
        *) bad "info --run $1: $(cat out)" ;;
    esac
    if [ -e "run-$1" ]; then bad "info --run $1 made a folder"; fi
    [ -r /proc/self/status ] || return
    peak "$grpo" "$@" --output-dir "run-$1"
    [ -z "${ASAN_OPTIONS-}" ] || return 0       # the sanitizers' memory is not the program's
    if printf '%s %s\n' "$plan" "$peak" | awk '{ exit !($1 > 0.8 * $2 && $1 < 1.2 * $2) }'; then good
    else bad "info --run $1: $plan bytes, the run held $peak"; fi
}
$world grammar --n 100 --seed 101 > labelled.jsonl
$world prompts --kind rl --n 40 --seed 1003 > prompts.jsonl
"$grpo" init --tokenizer-data sft.jsonl --output-dir wider --hidden-size 64 --num-hidden-layers 4 \
    --intermediate-size 176 --vocab-size 420 > out || bad "init"
foretold sft --model wider --dataset sft.jsonl --max-steps 3 --per-device-train-batch-size 16
foretold reward --model wider --dataset labelled.jsonl --max-steps 3 --per-device-train-batch-size 16
foretold train --model wider --dataset prompts.jsonl --reward-model run-reward/final --max-steps 2 \
    --per-device-train-batch-size 32 --max-completion-length 40 --beta 0.05
"$grpo" info --run train --config run-train/config.json > out 2> err
case $(cat out) in
    *'train: 2 updates'*'memory: '*' at most'*'time: '*' an update'*) good ;;
    *) bad "info --run train --config: $(cat out err)" ;;
esac
refuses '*--run: found "sing", expected sft, reward, em, train, ppo, aihf or dpo*' "$grpo" info --run sing
refuses '*unknown option "sing"*' "$grpo" info --run train --sing 1
refuses '*--model: not given*' "$grpo" info --run sft

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
