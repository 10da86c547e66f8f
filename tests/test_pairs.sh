#!/bin/sh
# test_pairs.sh: what the losses of pairs have beside DPO, from the outside: bridged pairs and weighted
# tokens (BMC), groups of pairs, demonstrations beside them; what must not change a bit; bad input.
# Run from the project's root by `make test`.
# shellcheck disable=SC2086  # $dpo is a list of words
. tests/commands.sh

$world sft --n 300 --seed 1 > sft.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
# an answer of the world against its first words, with something else behind them
sed 's/^{"prompt":\("[^"]*"\),"completion":"\([^"]*\)".*/\1|\2/' sft.jsonl | head -n 48 | awk -F'|' '{
    n = split($2, word, " "); half = ""
    for (i = 1; i <= n / 2; i++) half = half word[i] " "
    printf "{\"prompt\":%s,\"chosen\":\"%s\",\"rejected\":\"%sYou want the car\",\"user\":%d,'\
'\"score_chosen\":1,\"score_rejected\":0}\n", $1, $2, half, NR }' > pairs.jsonl
if [ "$(grep -c '"prompt":".*"chosen":".*"rejected":".*You want' pairs.jsonl)" -eq 48 ]; then good
else bad "the pairs: $(head -n 1 pairs.jsonl)"; fi
dpo="--model base --dataset pairs.jsonl --per-device-train-batch-size 4 --learning-rate 1e-3"
# alike NAME OPTION...: one thread or three, whole or in slices, the reference beside or before: the same
# bits, and what they cost is what was predicted
alike() {
    run=$1; shift
    works "dpo: $run" "$grpo" dpo $dpo --output-dir "$run" --max-steps 6 "$@"
    cost_of "$run"
    works "dpo: $run with 3 threads" env OMP_NUM_THREADS=3 "$grpo" dpo $dpo --output-dir "$run-threads" \
        --max-steps 6 "$@"
    same_run "dpo: $run with 3 threads" "$run" "$run-threads"
    works "dpo: $run in slices" "$grpo" dpo $dpo --output-dir "$run-slices" --max-steps 6 --slice-rows 1 \
        --precompute-ref-log-probs true "$@"
    same_run "dpo: $run in slices, the reference before" "$run" "$run-slices"
    works "info --run dpo: $run" "$grpo" info --run dpo --json $dpo --max-steps 6 "$@"
    plan_is_log "info --run dpo: $run" "$run"
}
# differ NAME RUN RUN
differ() {
    if cmp -s "$2/final/model.safetensors" "$3/final/model.safetensors"; then bad "$1: $2 and $3 are the same"
    else good; fi
}

# ---- BMC -----------------------------------------------------------------------------------------
works dpo "$grpo" dpo $dpo --output-dir dpo --max-steps 6
alike bmc --bmc-delta 2
differ 'dpo --bmc-delta' dpo bmc
works 'dpo --bmc-delta 0' "$grpo" dpo $dpo --output-dir bmc-0 --max-steps 6 --bmc-delta 0 \
    --bmc-stop-words nowhere
same 'dpo --bmc-delta 0 is dpo' dpo/final/model.safetensors bmc-0/final/model.safetensors
alike bmc-policy --bmc-delta 2 --bmc-reference policy --loss-type ipo_sum,aot --use-weighting false \
    --eval-split 0.25
printf 'YOU\n\n want \n' > stop.txt
works 'dpo --bmc-stop-words' "$grpo" dpo $dpo --output-dir bmc-stop --max-steps 6 --bmc-delta 2 \
    --bmc-stop-words stop.txt
differ 'dpo --bmc-stop-words' bmc bmc-stop
# every token of the vocabulary as a word in large letters: nothing counts as different any more
{
    sed 's/,/\n/g' base/tokenizer.json | sed -n 's/^.*"\([^" ]*\)": *[0-9][0-9}]*$/\1/p' | sed 's/Ġ//' |
        tr 'a-z' 'A-Z'
    printf ',\n'
} > every.txt
printf '{"prompt": "hi", "chosen": "%s", "rejected": "%s"}\n' yes no you,want the.house a bee sea dee \
    > words.jsonl
for delta in 0 2; do
    works 'dpo, nothing but stop-words' "$grpo" dpo $dpo --dataset words.jsonl --output-dir every-$delta \
        --max-steps 6 --bmc-delta $delta --bmc-stop-words every.txt
done
works 'dpo, no stop-words' "$grpo" dpo $dpo --dataset words.jsonl --output-dir every-none --max-steps 6 \
    --bmc-delta 2
same 'dpo, nothing but stop-words, is dpo' every-0/final/model.safetensors every-2/final/model.safetensors
differ 'dpo, no stop-words' every-0 every-none
works 'init with a long context' "$grpo" init --tokenizer-data sft.jsonl --output-dir wide \
    --hidden-size 16 --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420 \
    --max-position-embeddings 9000
awk 'BEGIN {
    printf "{\"prompt\": \"hi\", \"rejected\": \"no\", \"chosen\": \""
    for (i = 0; i < 4100; i++) printf "xq"
    print "\"}" }' > wide.jsonl
refuses '*wide.jsonl:1: a reply of * tokens, but --bmc-delta compares replies of at most 4096*' \
    "$grpo" dpo --model wide --dataset wide.jsonl --output-dir x --bmc-delta 1 --max-length 9000
refuses '*bmc_delta: found -1*' "$grpo" dpo $dpo --output-dir x --bmc-delta -1
for loss in ipo sigmoid_norm sft; do
    refuses "*bmc_delta: found 1, but loss_type $loss is not made of plain sums over tokens*" \
        "$grpo" dpo $dpo --output-dir x --bmc-delta 1 --loss-type sigmoid,$loss
done
refuses '*bmc_delta: found 1 beside ld_alpha 0.5*' \
    "$grpo" dpo $dpo --output-dir x --bmc-delta 1 --ld-alpha 0.5
refuses '*nowhere: could not be read*' "$grpo" dpo $dpo --output-dir x --bmc-delta 1 --bmc-stop-words nowhere
refuses '*bmc_reference: *poliy*policy*' "$grpo" dpo $dpo --output-dir x --bmc-delta 1 --bmc-reference poliy

# ---- bridges -------------------------------------------------------------------------------------
# a bridge that answers with the text $1
bridge() {
    printf '%s' "while read -r line; do id=\${line#*:}; id=\${id%%,*}; \
echo \"{\\\"id\\\": \$id, \\\"chosen\\\": \\\"$1\\\"}\"; done"
}
works 'pairs --bridge-cmd' "$grpo" pairs --dataset pairs.jsonl --bridge-cmd "$(bridge 'number $id')" \
    --output bridged.jsonl
case $(cat "$err") in
    *'pairs: 48 of 48 pairs were bridged, 0 rejected replies came back as they were'*) good ;;
    *) bad "pairs --bridge-cmd: $(cat "$err")" ;;
esac
sed 's/"chosen":"[^"]*"\(.*\),"score_chosen":1/"chosen":"number"\1/' pairs.jsonl > a
sed 's/"chosen":"number [0-9]*"/"chosen":"number"/' bridged.jsonl > b
same 'pairs --bridge-cmd: all else stays, but for the score of the former chosen reply' a b
if [ "$(sed -n 48p bridged.jsonl | grep -c '"chosen":"number 47"')" -eq 1 ]; then good
else bad "pairs --bridge-cmd: $(sed -n 48p bridged.jsonl)"; fi
works 'dpo on bridged pairs' "$grpo" dpo $dpo --dataset bridged.jsonl --output-dir bridged --max-steps 2 \
    --bmc-delta 2
printf '%s\n' '{"prompt": "a", "chosen": "x", "rejected": "same"}' \
    '{"prompt": "b", "chosen": "x", "rejected": "other"}' > two.jsonl
works 'pairs --bridge-cmd that changes nothing' "$grpo" pairs --dataset two.jsonl \
    --bridge-cmd "$(bridge same)"
says 'pairs --bridge-cmd that changes nothing' '{"prompt":"b","chosen":"same","rejected":"other"}'
case $(cat "$err") in
    *'1 of 2 pairs were bridged, 1 rejected'*) good ;;
    *) bad "pairs --bridge-cmd: $(cat "$err")" ;;
esac
works 'what the bridge is told' "$grpo" pairs --dataset two.jsonl \
    --bridge-cmd 'tee -a told | while read -r line; do id=${line#*:}; '\
'echo "{\"id\": ${id%%,*}, \"chosen\": \"y\"}"; done'
if [ "$(head -n 1 told)" = '{"id":0,"prompt":"a","messages":[{"role":"user","content":"a"}],'\
'"chosen":"x","rejected":"same"}' ]; then good
else bad "what the bridge is told: $(head -n 1 told)"; fi
refuses '*--bridge-cmd: answered line 0 with an empty text*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd "$(bridge '')"
refuses '*--bridge-cmd: answered id 7 to line 0*' "$grpo" pairs --dataset two.jsonl \
    --bridge-cmd 'while read -r l; do echo "{\"id\": 7, \"chosen\": \"y\"}"; done'
refuses '*--bridge-cmd: found "{"id": 0}", expected {"id": 0, "chosen": "text"}*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd 'while read -r l; do echo "{\"id\": 0}"; done'
refuses '*answer of --bridge-cmd:1:*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd 'while read -r l; do echo "no JSON"; done'
refuses '*--bridge-cmd "read -r l": the program ended*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd 'read -r l'
refuses '*--bridge-cmd "sleep 9": silent for 1 seconds*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd 'sleep 9' --reward-timeout 1
head -n 1 two.jsonl > one.jsonl
refuses '*--bridge-cmd: gave back each of 1 rejected replies as it was*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd "$(bridge same)" --dataset one.jsonl
refuses '*--bridge-cmd: bridges pairs that the data set holds*--model*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd cat --model base
refuses '*--bridge-cmd: bridges pairs that the data set holds*--margin*' \
    "$grpo" pairs --dataset two.jsonl --bridge-cmd cat --margin 1

# ---- groups --------------------------------------------------------------------------------------
awk '{ sub(/}$/, NR % 4 ? ",\"group\":\"many\"}" : ",\"group\":7}"); print }' pairs.jsonl > grouped.jsonl
dpo="--model base --dataset grouped.jsonl --per-device-train-batch-size 8 --learning-rate 1e-3"
works 'dpo on the same pairs' "$grpo" dpo $dpo --output-dir plain --max-steps 6
alike robust --group-column group --group-step-size 0.1
differ 'dpo --group-column' plain robust
alike robust-mean --group-column group --group-loss mean --group-step-size 0.5 --loss-type ipo_sum,sigmoid \
    --gradient-accumulation-steps 2 --use-weighting true
if [ "$(grep -c '"loss/many":.*"accuracy/many":.*"loss/7":.*"accuracy/7":.*"weight/many":.*"weight/7":' \
    robust/log.jsonl)" -eq 6 ]; then good
else bad "dpo --group-column: its log: $(head -n 1 robust/log.jsonl)"; fi
# at the first step every pair has log 2, and the sums of 48/36 x pairs and 48/12 x pairs of 8 weigh what
# the micro-batch happens to hold
case $(head -n 1 robust/log.jsonl) in
    *'"loss/many":0.69314718055994'*'"accuracy/many":0,"loss/7":0.69314718055994'*) good ;;
    *) bad "dpo --group-column: $(head -n 1 robust/log.jsonl)" ;;
esac
works 'dpo by fixed weights' "$grpo" dpo $dpo --output-dir fixed --max-steps 6 --group-column group \
    --group-weights fixed
if [ "$(grep -c '"weight/many":0.5,"weight/7":0.5' fixed/log.jsonl)" -eq 6 ]; then good
else bad 'dpo --group-weights fixed'; fi
works 'dpo without a step' "$grpo" dpo $dpo --output-dir step-0 --max-steps 6 --group-column group \
    --group-step-size 0
same 'dpo: step size 0 is fixed weights' fixed/final/model.safetensors step-0/final/model.safetensors
works 'dpo by counts' "$grpo" dpo $dpo --output-dir counts --max-steps 2 --group-column group \
    --group-weights counts
if [ "$(grep -c '"weight/many":0.25,"weight/7":0.75' counts/log.jsonl)" -eq 2 ]; then good
else bad "dpo --group-weights counts: $(head -n 1 counts/log.jsonl)"; fi
works 'dpo, groups told' "$grpo" dpo $dpo --output-dir only-told --max-steps 6 --group-column group \
    --group-weights none --eval-split 0.25
works 'dpo, groups not told' "$grpo" dpo $dpo --output-dir untold --max-steps 6 --eval-split 0.25
same 'dpo: groups that are told change no bit' \
    only-told/final/model.safetensors untold/final/model.safetensors
case $(head -n 1 only-told/log.jsonl) in
    *'"loss/many":0.69314718055994'*'"weight/many":0.8055'*) good ;;
    *) bad "dpo --group-weights none: $(head -n 1 only-told/log.jsonl)" ;;
esac
cost_of only-told
# one group: sums by N/N_g = 1 are DPO, and so are means
sed 's/"group":[^}]*/"group":"all"/' grouped.jsonl > alone.jsonl
for loss in sum mean; do
    works "dpo with one group, $loss" "$grpo" dpo $dpo --dataset alone.jsonl --output-dir "alone-$loss" \
        --max-steps 1 --group-column group --group-loss $loss
    same "dpo with one group is dpo, $loss" \
        "$(sed 's/.*"grad_norm":\([0-9.e-]*\).*/\1/;q' "alone-$loss/log.jsonl" > a; echo a)" \
        "$(sed 's/.*"grad_norm":\([0-9.e-]*\).*/\1/;q' plain/log.jsonl > b; echo b)"
done
works 'dpo of groups, held out' "$grpo" dpo $dpo --output-dir held --max-steps 6 --group-column group \
    --eval-split 0.5
says 'dpo of groups, held out' '*loss/many * 0.69315 *accuracy/7 * 0.00000 *'\
'loss/worst group * 0.69315 *accuracy/worst group * 0.00000 *n = 24*'
case $(cat held/eval.json) in
    *'"loss/many":0.693147'*'"accuracy/7":0,'*'"loss/worst group":0.693147'*\
'"after":{'*'"accuracy/worst group":'*) good ;;
    *) bad "dpo of groups: eval.json: $(cat held/eval.json)" ;;
esac
long="$grpo dpo $dpo --max-steps 300 --save-steps 4 --group-column group --group-loss mean \
--group-step-size 0.3"
works 'dpo of groups, 300 steps' $long --output-dir whole
killed 'dpo of groups' whole killed-run $long
sed 's/,"group":7//' grouped.jsonl > without.jsonl
sed 's/"group":7/"group":null/' grouped.jsonl > null.jsonl
sed '48s/"group":7/"group":"lonely"/' grouped.jsonl > lonely.jsonl
sed 's/"user":\([0-9]*\),.*"group":.*/"group":\1}/' grouped.jsonl > every.jsonl
cat every.jsonl every.jsonl |
    awk 'NR <= 96 { print } { sub(/"group":[0-9]*/, "\"group\":" 100 + NR); print; print }' > sixty.jsonl
refuses '*without.jsonl:4: group: found no such column, expected a text or a number*' \
    "$grpo" dpo $dpo --dataset without.jsonl --output-dir x --group-column group
refuses '*null.jsonl:4: group: found null, expected a text or a number*' \
    "$grpo" dpo $dpo --dataset null.jsonl --output-dir x --group-column group
refuses '*lonely.jsonl: group: group "lonely" has 1 training pair, expected at least 2*' \
    "$grpo" dpo $dpo --dataset lonely.jsonl --output-dir x --group-column group
refuses '*sixty.jsonl:*: group: found more than 64 groups*' \
    "$grpo" dpo $dpo --dataset sixty.jsonl --output-dir x --group-column group
refuses '*group_step_size: found -1*' \
    "$grpo" dpo $dpo --output-dir x --group-column group --group-step-size -1
for loss in aot aot_unpaired sft tdpo2; do
    refuses "*--group-column: loss_type $loss is not weighed by groups*" \
        "$grpo" dpo $dpo --output-dir x --group-column group --loss-type $loss
done

# ---- demonstrations (E229) -----------------------------------------------------------------------
# the chosen replies of the same pairs as demonstrations: then what is added is the loss sft of E175, on
# the same examples in the same order
sed 's/^{"prompt":\("[^"]*"\),"chosen":\("[^"]*"\).*/{"prompt":\1,"completion":\2}/' pairs.jsonl > demos.jsonl
dpo="--model base --dataset pairs.jsonl --per-device-train-batch-size 4 --learning-rate 1e-3"
alike demos --demonstrations demos.jsonl --demonstration-weight 0.5
if [ "$(grep -c '"demonstrations/loss":[0-9]' demos/log.jsonl)" -eq 6 ]; then good
else bad "dpo --demonstrations: its log: $(head -n 1 demos/log.jsonl)"; fi
works 'dpo --demonstrations' "$grpo64" dpo $dpo --output-dir demos-64 --max-steps 6 \
    --demonstrations demos.jsonl --demonstration-weight 0.5
works 'dpo with the loss sft' "$grpo64" dpo $dpo --output-dir sft-64 --max-steps 6 --loss-type sigmoid,sft \
    --loss-weights 1,0.5
for run in demos-64 sft-64; do
    sed -n 's/.*"loss":\([0-9.]\{9\}\).*"grad_norm":\([0-9.]\{9\}\).*/\1 \2/p' $run/log.jsonl |
        cut -c 1-19 > $run.txt
done
if [ "$(wc -l < sft-64.txt)" -eq 6 ]; then good; else bad "dpo with the loss sft: $(cat sft-64.txt)"; fi
same 'dpo --demonstrations is the loss sft on its own examples (E229)' demos-64.txt sft-64.txt
head -n 5 demos.jsonl > five.jsonl
alike demos-tdpo --demonstrations five.jsonl --loss-type tdpo2 --gradient-accumulation-steps 2 \
    --precompute-ref-log-probs false
printf '{"prompt": "hi", "completion": "%s"}\n' xqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxqxq no > cut.jsonl
works 'dpo, a demonstration that is cut' "$grpo" dpo $dpo --dataset words.jsonl --output-dir cut-demo \
    --max-steps 1 --demonstrations cut.jsonl --max-length 16
case $(cat "$err") in
    *'dpo: of 2 demonstrations 1 were longer than 16 tokens and cut'*) good ;;
    *) bad "dpo, a demonstration that is cut: $(cat "$err")" ;;
esac
refuses '*--demonstration-weight: found 0, expected more than 0*' \
    "$grpo" dpo $dpo --output-dir x --demonstrations demos.jsonl --demonstration-weight 0
refuses '*nowhere: *' "$grpo" dpo $dpo --output-dir x --demonstrations nowhere
refuses '*pairs.jsonl:1: *completion*' "$grpo" dpo $dpo --output-dir x --demonstrations pairs.jsonl
refuses '*demos.jsonl:*: the prompt alone has *--max-length*' \
    "$grpo" dpo $dpo --dataset words.jsonl --output-dir x --demonstrations demos.jsonl --max-length 8
long="$grpo dpo $dpo --max-steps 300 --save-steps 4 --demonstrations five.jsonl"
works 'dpo with demonstrations, 300 steps' $long --output-dir shown
killed 'dpo with demonstrations' shown shown-killed $long

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
