#!/bin/sh
# test_baselines.sh: the methods that GRPO is compared with, from the outside: pairs, dpo and ppo on a tiny
# world; what must not change a bit; bad input.
# Run from the project's root by `make test`.
# shellcheck disable=SC2086  # $dpo and $ppo are lists of words
. tests/commands.sh

$world sft --n 600 --seed 1 > sft.jsonl
$world grammar --n 200 --seed 101 > labelled.jsonl
$world prompts --kind rl --n 60 --seed 1003 > prompts.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
works sft "$grpo" sft --model base --dataset sft.jsonl --output-dir sft --max-steps 20 \
    --per-device-train-batch-size 16 --learning-rate 5e-3
works reward "$grpo" reward --model sft/final --dataset labelled.jsonl --output-dir reward --max-steps 20 \
    --per-device-train-batch-size 8 --learning-rate 3e-3

mkdir pairs sampled
# ---- pairs ---------------------------------------------------------------------------------------
sampling="--model sft/final --dataset prompts.jsonl --max-completion-length 16 --num-generations 4"
works pairs "$grpo" pairs $sampling --reward-model reward/final --output pairs.jsonl --cost pairs/log.jsonl
cost_of pairs
case $(cat "$err") in
    *'pairs: operations: '*' counted (policy '*', reward '*'60 of 60 prompts gave a pair'*) good ;;
    *) bad "pairs: $(cat "$err")" ;;
esac
if [ "$(grep -c '"prompt":.*"chosen":.*"rejected":.*"score_chosen":' pairs.jsonl)" -eq 60 ]; then good
else bad 'pairs: its lines'; fi
works 'pairs two prompts at a time' "$grpo" pairs $sampling --reward-model reward/final --batch 2
same 'pairs: the batch changes nothing' "$out" pairs.jsonl
# the same by hand: sample, score, pairs
works sample "$grpo" sample $sampling --output samples.jsonl --reference base --cost sampled/log.jsonl
cost_of sampled
works score "$grpo" score --dataset samples.jsonl --reward-model reward/final --output scored.jsonl
works 'pairs of scored replies' "$grpo" pairs --dataset scored.jsonl
sed 's/,"score_.*//' "$out" > a; sed 's/,"score_.*//' pairs.jsonl > b
same 'pairs of scored replies' a b
works 'pairs by other weights' "$grpo" pairs --dataset scored.jsonl --reward-weights safety=1
if cmp -s "$out" pairs.jsonl; then bad 'pairs --reward-weights changed nothing'; else good; fi
printf '%s\n' '{"prompt": "a", "completion": "x", "reward": 1}' \
    '{"prompt": "a", "completion": "y", "reward": 3, "finish_reason": "length"}' \
    '{"prompt": "a", "completion": "z", "reward": 2}' \
    '{"prompt": "b", "completion": "x", "reward": 1}' '{"prompt": "b", "completion": "y", "reward": 1}' \
    '{"prompt": "c", "completion": "x", "reward": 1}' '{"prompt": "c", "completion": "y", "reward": 1.4}' \
    '{"prompt": "c", "completion": "z", "reward": null}' > given.jsonl
works 'pairs with a margin' "$grpo" pairs --dataset given.jsonl --margin 0.5
says 'pairs with a margin' '{"prompt":"a","chosen":"y","rejected":"x","chosen_finish_reason":"length",'\
'"rejected_finish_reason":"stop","score_chosen":3,"score_rejected":1}'
works 'pairs without margin' "$grpo" pairs --dataset given.jsonl
says 'pairs without margin' '*"prompt":"c","chosen":"y","rejected":"x"*'
case $(cat "$err") in *'2 of 3 prompts gave a pair, 1 had'*) good ;; *) bad "pairs: $(cat "$err")" ;; esac
refuses '*pairs/log.jsonl: exists already; give another --cost*' \
    "$grpo" pairs $sampling --reward-model reward/final --cost pairs/log.jsonl
refuses '*--cost: replies that are given cost nothing*' "$grpo" pairs --dataset given.jsonl --cost x
refuses '*pairs.jsonl: exists already*' \
    "$grpo" pairs $sampling --reward-model reward/final --output pairs.jsonl
refuses '*none gave a pair*' "$grpo" pairs --dataset given.jsonl --margin 9
refuses '*--margin: found -1*' "$grpo" pairs --dataset given.jsonl --margin -1
refuses '*no "reward" (a number)*' "$grpo" pairs --dataset samples.jsonl
refuses '*no "scores"*' "$grpo" pairs --dataset given.jsonl --reward-weights safety=1
refuses '*no source of scores*' "$grpo" pairs $sampling
refuses '*replies of --model, which is not given*' \
    "$grpo" pairs --dataset prompts.jsonl --reward-model reward/final
refuses '*--num-generations: found 1*' "$grpo" pairs $sampling --num-generations 1 --reward-model reward/final
refuses '*--temperature: found 0*' "$grpo" pairs $sampling --temperature 0 --reward-model reward/final

# ---- dpo -----------------------------------------------------------------------------------------
dpo="--model sft/final --dataset pairs.jsonl --per-device-train-batch-size 4 --learning-rate 1e-3"
works dpo "$grpo" dpo $dpo --output-dir dpo --max-steps 12
says dpo 'dpo/final: 12 steps, loss of the last *weights*'
if [ "$(grep -c '"rewards/chosen":.*"rewards/rejected":.*"rewards/accuracies":.*"rewards/margins":.*'\
'"logps/chosen":.*"logps/rejected":' dpo/log.jsonl)" -eq 12 ]; then good; else bad 'dpo: its log'; fi
cost_of dpo
case $(head -n 1 dpo/log.jsonl) in
    *'"loss":0.69314718055994'*'"rewards/chosen":0,'*) good ;;
    *) bad "dpo: the first loss is not log 2: $(head -n 1 dpo/log.jsonl)" ;;
esac
for n in 1 2 3; do
    works "dpo with $n threads" env OMP_NUM_THREADS=$n "$grpo" dpo $dpo --output-dir dpo-threads$n \
        --max-steps 12
    same_run "dpo: $n threads" dpo dpo-threads$n
done
works 'dpo in slices' "$grpo" dpo $dpo --output-dir dpo-slices --max-steps 12 --slice-rows 1
same_run 'dpo --slice-rows' dpo dpo-slices
works 'dpo --precompute-ref-log-probs' "$grpo" dpo $dpo --output-dir dpo-before --max-steps 12 \
    --precompute-ref-log-probs true
same_run 'dpo: the reference before or beside (E179)' dpo dpo-before
works 'info --run dpo' "$grpo" info --run dpo --json $dpo --max-steps 12
plan_is_log 'info --run dpo' dpo
works 'info --run dpo --precompute-ref-log-probs' "$grpo" info --run dpo --json $dpo --max-steps 12 \
    --precompute-ref-log-probs true
plan_is_log 'info --run dpo --precompute-ref-log-probs' dpo-before
for loss in ipo hinge robust aot_unpaired; do
    works "dpo --loss-type $loss" "$grpo" dpo $dpo --output-dir "dpo-$loss" --max-steps 3 --loss-type $loss \
        --label-smoothing 0.1
    works "dpo --loss-type $loss in slices" "$grpo" dpo $dpo --output-dir "dpo-$loss-slices" --max-steps 3 \
        --loss-type $loss --label-smoothing 0.1 --slice-rows 1 --precompute-ref-log-probs true
    same_run "dpo --loss-type $loss" "dpo-$loss" "dpo-$loss-slices"
done
works 'dpo with several losses, accumulated' "$grpo" dpo $dpo --output-dir dpo-several --max-steps 3 \
    --loss-type sigmoid,sft --loss-weights 1,0.5 --gradient-accumulation-steps 2
cost_of dpo-several
cost_of dpo-before
works 'dpo with weighted pairs' "$grpo" dpo $dpo --output-dir dpo-weighted --max-steps 3 --use-weighting \
    --ld-alpha 0.5
works 'dpo of an adapter' "$grpo" dpo $dpo --output-dir dpo-lora --max-steps 12 --use-peft --lora-r 4
works 'dpo of an adapter, precomputed' "$grpo" dpo $dpo --output-dir dpo-lora-before --max-steps 12 \
    --use-peft --lora-r 4 --precompute-ref-log-probs true
same_run 'dpo of an adapter: the reference is the base' dpo-lora dpo-lora-before
cost_of dpo-weighted
cost_of dpo-aot_unpaired
cost_of dpo-lora
cost_of dpo-lora-before
works 'dpo of an adapter beside bf16' "$grpo" dpo $dpo --output-dir dpo-bf16 --max-steps 4 --use-peft \
    --lora-r 4 --base-dtype bf16
works 'an adapter goes on' "$grpo" dpo $dpo --model dpo-lora/final --output-dir dpo-lora-on --max-steps 2
case $(head -n 1 dpo-lora-on/log.jsonl) in
    *'"rewards/chosen":0,'*) good ;;
    *) bad 'dpo of a given adapter: the reference is not where it starts' ;;
esac
works 'dpo --eval-split' "$grpo" dpo $dpo --output-dir dpo-eval --max-steps 12 --eval-split 0.2
says 'dpo --eval-split' '*held-out pairs * before * after*loss * 0.69315 *rewards/margins * 0.00000 *n = 12;*'
works 'dpo --eval-split --json' "$grpo" dpo $dpo --output-dir dpo-json --max-steps 12 --eval-split 0.2 --json
says 'dpo --json' '{"steps":12,*"sha256":"*"eval":{"pairs":12,"before":{"loss":0.6931*"after":{*'
same 'dpo: eval.json' dpo-eval/eval.json dpo-json/eval.json
works 'a recipe' "$grpo" dpo --config dpo/config.json --output-dir dpo-recipe
same_run "a run's config.json gives the run again" dpo dpo-recipe
long="$grpo dpo $dpo --max-steps 400 --save-steps 4"
works 'dpo, 400 steps' $long --output-dir dpo-whole
killed dpo dpo-whole dpo-killed $long
same 'dpo: the log, and what it cost' dpo-whole/log.jsonl dpo-killed/log.jsonl
killed 'dpo with precomputed reference' dpo-whole dpo-killed-2 $long --precompute-ref-log-probs true
# tdpo: the reference beside the policy
for k in 1 2; do
    works "dpo --loss-type tdpo$k" "$grpo" dpo $dpo --output-dir tdpo$k --max-steps 12 --loss-type tdpo$k \
        --eval-split 0.2
    says "tdpo$k --eval-split" \
        '*held-out pairs * before * after*loss * 0.69315 *kl/margin * 0.00000 *n = 12;*'
    works "tdpo$k in slices, two threads" env OMP_NUM_THREADS=2 "$grpo" dpo $dpo --output-dir tdpo$k-slices \
        --max-steps 12 --loss-type tdpo$k --eval-split 0.2 --slice-rows 1
    same_run "tdpo$k in slices" tdpo$k tdpo$k-slices
    same "tdpo$k in slices: eval.json" tdpo$k/eval.json tdpo$k-slices/eval.json
    cost_of tdpo$k
done
if cmp -s tdpo1/final/model.safetensors tdpo2/final/model.safetensors; then bad 'tdpo1 and tdpo2 are the same'
else good; fi
case $(head -n 1 tdpo2/log.jsonl) in
    *'"loss":0.69314718055994'*'"kl/chosen":0,"kl/rejected":0,"kl/margin":0,'*) good ;;
    *) bad "tdpo: at its start the policy is the reference: $(head -n 1 tdpo2/log.jsonl)" ;;
esac
case $(tail -n 2 tdpo2/log.jsonl | head -n 1) in
    *'"kl/chosen":0.'[0-9]*'"kl/rejected":0.'[0-9]*) good ;;
    *) bad "tdpo: its log" ;;
esac
works 'info --run dpo --loss-type tdpo2' "$grpo" info --run dpo --json $dpo --max-steps 12 --loss-type tdpo2 \
    --eval-split 0.2
plan_is_log 'info --run dpo --loss-type tdpo2' tdpo2
works 'tdpo of an adapter' "$grpo" dpo $dpo --output-dir tdpo-lora --max-steps 12 --loss-type tdpo2 \
    --use-peft --lora-r 4
cost_of tdpo-lora
long="$grpo dpo $dpo --max-steps 300 --save-steps 4 --loss-type tdpo2"
works 'tdpo, 300 steps' $long --output-dir tdpo-whole
killed tdpo tdpo-whole tdpo-killed $long
refuses '*tdpo_alpha: found -1*' "$grpo" dpo $dpo --output-dir x --loss-type tdpo2 --tdpo-alpha -1
refuses '*tdpo2 stands alone*' "$grpo" dpo $dpo --output-dir x --loss-type tdpo2,sft
refuses '*tdpo1 stands alone*' \
    "$grpo" dpo $dpo --output-dir x --loss-type tdpo1 --f-divergence-type js_divergence
refuses '*tdpo1 stands alone*' "$grpo" dpo $dpo --output-dir x --loss-type tdpo1 --use-weighting
refuses '*--precompute-ref-log-probs: *need all logits of the reference every step*' \
    "$grpo" dpo $dpo --output-dir x --loss-type tdpo1 --precompute-ref-log-probs true
# flows: texts by themselves, two targets a row
sed 's/"length"/"stop"/g' pairs.jsonl | grep -v -e '"chosen":""' -e '"rejected":""' > full.jsonl
flow="$dpo --dataset full.jsonl --max-steps 12 --eval-split 0.2"
for loss in db subtb tb; do
    works "flow_$loss" "$grpo" dpo $flow --output-dir flow-$loss --loss-type flow_$loss
    works "flow_$loss in slices, two threads" env OMP_NUM_THREADS=2 "$grpo" dpo $flow \
        --output-dir flow-$loss-slices --loss-type flow_$loss --slice-rows 1
    same_run "flow_$loss in slices" flow-$loss flow-$loss-slices
    same "flow_$loss in slices: eval.json" flow-$loss/eval.json flow-$loss-slices/eval.json
    cost_of flow-$loss
done
# E236 at the start: only the last step is off, by alpha (lowest score - score): 0.8 and 0;
# and half of alpha 8 each way
case $(head -n 1 flow-db/log.jsonl) in
    *'"loss":0.32'*'"log_flow":'*) good ;;
    *) bad "flow_db: $(head -n 1 flow-db/log.jsonl)" ;;
esac
case $(head -n 1 flow-tb/log.jsonl) in
    *'"loss":0.16'*'"log_flow":'*) good ;;
    *) bad "flow_tb: $(head -n 1 flow-tb/log.jsonl)" ;;
esac
# E238 in the whole: flow_tb is ipo_sum with 1/(2 beta) = 8 alpha and a quarter of its loss, to rounding
works 'ipo_sum beside flow_tb' "$grpo" dpo $flow --output-dir flow-ipo --loss-type ipo_sum --beta 0.625 \
    --loss-weights 0.25
for run in flow-tb flow-ipo; do
    sed -n 's/.*"loss":\([0-9.e-]*\),.*"logps\/chosen":\([-0-9.]*\),'\
'"logps\/rejected":\([-0-9.]*\),.*/\1 \2 \3/p' $run/log.jsonl > $run.told
done
if paste -d ' ' flow-tb.told flow-ipo.told | awk '
    {
        for (i = 1; i <= 3; i++) {
            d = $i - $(i + 3); if (d < 0) d = -d
            if (d > (i == 1 ? 1e-5 : 1e-2)) exit 1
        }
        n++
    }
    END { exit n != 12 }'; then good
else bad "flow_tb and ipo_sum: $(paste flow-tb.told flow-ipo.told)"; fi
if cmp -s flow-tb/log.jsonl flow-ipo/log.jsonl; then bad 'flow_tb and ipo_sum wrote the same log'
else good; fi
works 'flow_db --precompute-ref-log-probs' "$grpo" dpo $flow --output-dir flow-before --loss-type flow_db \
    --precompute-ref-log-probs true
same_run 'flow_db: the reference before or beside' flow-db flow-before
program="$flow --loss-type flow_subtb --flow-reward program --flow-scores column --flow-alpha 2"
works 'flow by the program, with columns' "$grpo" dpo $program --output-dir flow-program
case $(cat "$err") in
    *'--flow-reward program: the authors'*) good ;;
    *) bad "flow_reward program says nothing: $(cat "$err")" ;;
esac
works 'flow by the program, precomputed' "$grpo" dpo $program --output-dir flow-program-before \
    --precompute-ref-log-probs true
same_run 'flow by the program: the reference before or beside' flow-program flow-program-before
works 'flow by the program, another temperature' "$grpo" dpo $program --output-dir flow-gamma --flow-gamma 0.2
if cmp -s flow-program/final/model.safetensors flow-gamma/final/model.safetensors; then
    bad 'flow_gamma changed nothing'
else good; fi
cost_of flow-program
cost_of flow-program-before
works 'info --run dpo --loss-type flow_subtb' "$grpo" info --run dpo --json $program
plan_is_log 'info --run dpo --loss-type flow_subtb' flow-program
works 'flow of an adapter, accumulated' "$grpo" dpo $flow --output-dir flow-lora --loss-type flow_tb \
    --use-peft --lora-r 4 --gradient-accumulation-steps 2
cost_of flow-lora
long="$grpo dpo $dpo --max-steps 300 --save-steps 4 --loss-type flow_subtb"
works 'flow, 300 steps' $long --output-dir flow-whole
killed flow flow-whole flow-killed $long
{ cat full.jsonl; printf '%s\n' '{"prompt": "hi", "chosen": "", "rejected": "no"}'; } > empty.jsonl
works 'flow without an empty reply' "$grpo" dpo $dpo --dataset empty.jsonl --output-dir flow-empty \
    --max-steps 2 --loss-type flow_tb
case $(cat "$err") in
    *'1 pairs with an empty reply are left out'*) good ;;
    *) bad "flow: an empty reply: $(cat "$err")" ;;
esac
tail -n 1 empty.jsonl > empty1.jsonl
refuses '*empty1.jsonl: every pair has an empty reply*' \
    "$grpo" dpo $dpo --dataset empty1.jsonl --output-dir x --loss-type flow_tb
sed '1s/"score_chosen"/"score"/' pairs.jsonl > unscored.jsonl
refuses '*unscored.jsonl:1: no "score_chosen" (a number)*' \
    "$grpo" dpo $dpo --dataset unscored.jsonl --output-dir x --loss-type flow_tb --flow-scores column
refuses '*flow_alpha: found 0*' "$grpo" dpo $dpo --output-dir x --loss-type flow_tb --flow-alpha 0
refuses '*flow_gamma: found -1*' "$grpo" dpo $dpo --output-dir x --loss-type flow_db --flow-gamma -1
refuses '*subtb_lambda: found 0*' "$grpo" dpo $dpo --output-dir x --loss-type flow_subtb --subtb-lambda 0
refuses '*flow_tb stands alone*' "$grpo" dpo $dpo --output-dir x --loss-type flow_tb,sft
refuses '*flow_tb is not made of plain sums over tokens*' \
    "$grpo" dpo $dpo --output-dir x --loss-type flow_tb --bmc-delta 2
# TRL's other shapes say the same
printf '%s\n' '{"prompt": "hi", "chosen": "yes", "rejected": "no"}' > shape1.jsonl
printf '%s\n' '{"prompt": [{"role": "user", "content": "hi"}], '\
'"chosen": [{"role": "assistant", "content": "yes"}], "rejected": [{"role": "assistant", "content": "no"}]}' \
    > shape2.jsonl
printf '%s\n' '{"chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}], '\
'"rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no"}]}' > shape3.jsonl
for k in 1 2 3; do
    works "dpo on shape $k" "$grpo" dpo $dpo --dataset shape$k.jsonl --output-dir shape$k --max-steps 2
done
same_run 'messages and texts' shape1 shape2
same_run 'whole conversations' shape1 shape3
# a reply that was cut has no closing token
printf '%s\n' '{"prompt": "hi", "chosen": "yes", "rejected": "no", "chosen_finish_reason": "length"}' \
    > cut.jsonl
works 'dpo on a reply that was cut' "$grpo" dpo $dpo --dataset cut.jsonl --output-dir cut --max-steps 1
a=$(sed -n 's/.*"num_tokens":\([0-9]*\).*/\1/p' cut/log.jsonl) \
    b=$(sed -n '1s/.*"num_tokens":\([0-9]*\).*/\1/p' shape1/log.jsonl)
if [ $((a + 1)) -eq "$b" ]; then good
else bad "dpo: a cut reply: $a tokens in a pair, $b with the closing token"; fi
refuses '*unknown option "betta", did you mean "beta"*' "$grpo" dpo $dpo --output-dir x --betta 1
refuses '*loss_type: *"sigmoit"*did you mean "sigmoid"*' "$grpo" dpo $dpo --output-dir x --loss-type sigmoit
refuses '*--loss-weights: found "1", expected 2 numbers*' \
    "$grpo" dpo $dpo --output-dir x --loss-type sigmoid,ipo --loss-weights 1
refuses '*--loss-weights: found "1,2,3"*' \
    "$grpo" dpo $dpo --output-dir x --loss-type sigmoid,ipo --loss-weights 1,2,3
refuses '*beta: found 0*' "$grpo" dpo $dpo --output-dir x --beta 0
refuses '*label_smoothing: found 0.5*' "$grpo" dpo $dpo --output-dir x --label-smoothing 0.5
refuses '*aot is defined for reverse_kl only*' \
    "$grpo" dpo $dpo --output-dir x --loss-type aot --f-divergence-type js_divergence
refuses '*--eval-split: found 2*' "$grpo" dpo $dpo --output-dir x --eval-split 2
refuses '*the prompt alone has * tokens, expected fewer than --max-length 5*' \
    "$grpo" dpo $dpo --output-dir x --max-length 5
refuses '*reward/final: is a reward model*' "$grpo" dpo $dpo --model reward/final --output-dir x
refuses '*dpo: is not empty*' "$grpo" dpo $dpo --output-dir dpo
refuses '*beta: the run was started with 0.1, now it is 0.2*' \
    "$grpo" dpo $dpo --output-dir dpo --max-steps 12 --resume --beta 0.2
refuses '*sft.jsonl:1: no "chosen"*' "$grpo" dpo $dpo --dataset sft.jsonl --output-dir x
data() { printf '%s\n' "$1" > data.jsonl; refuses "$2" "$grpo" dpo $dpo --dataset data.jsonl --output-dir x; }
data '{"prompt": "hi", "chosen": "yes"}' '*data.jsonl:1: no "rejected"*'
data '{"prompt": "hi", "chosen": "yes", "rejected": 3}' '*data.jsonl:1:*rejected: found number*'
data '{"prompt": "hi", "chosen": "yes", "rejected": "", "rejected_finish_reason": "length"}' \
    '*data.jsonl:1: rejected: is empty and was cut*'
data '{"chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}], '\
'"rejected": [{"role": "user", "content": "ho"}, {"role": "assistant", "content": "no"}]}' \
    '*data.jsonl:1: chosen and rejected differ in 2 and 2 turns*'
if [ -e x ]; then bad 'a refused run left its folder behind'; else good; fi

# ---- ppo -----------------------------------------------------------------------------------------
ppo="--model sft/final --dataset prompts.jsonl --reward-model reward/final --max-completion-length 16 \
--num-generations 2 --per-device-train-batch-size 4 --num-mini-batches 2 --learning-rate 1e-3"
works ppo "$grpo" ppo $ppo --output-dir ppo --max-steps 24
says ppo 'ppo/final: 24 steps, reward*weights*'
if [ "$(grep -c '"objective/kl":.*"objective/rlhf_reward":.*"policy/approxkl_avg":.*"loss/value_avg":.*'\
'"val/ratio":' ppo/log.jsonl)" -eq 3 ]; then good; else bad 'ppo: its log'; fi
case $(head -n 1 ppo/log.jsonl) in
    *'"objective/kl":0,'*) good ;;
    *) bad "ppo: the policy does not start at the reference: $(head -n 1 ppo/log.jsonl)" ;;
esac
works 'ppo: the critic is a folder (E151)' "$grpo" info --model ppo/value
says 'ppo: the critic is a folder' '*reward model*label 0: value*'
for n in 1 2 3; do
    works "ppo with $n threads" env OMP_NUM_THREADS=$n "$grpo" ppo $ppo --output-dir ppo-threads$n \
        --max-steps 24
    same_run "ppo: $n threads" ppo ppo-threads$n
done
works 'ppo in slices' "$grpo" ppo $ppo --output-dir ppo-slices --max-steps 24 --slice-rows 1
same_run 'ppo --slice-rows' ppo ppo-slices
same 'ppo: the critic' ppo/value/model.safetensors ppo-slices/value/model.safetensors
works 'ppo, the critic by its name' "$grpo" ppo $ppo --output-dir ppo-named --max-steps 24 \
    --value-model reward/final
same_run 'ppo: the critic starts from the reward model (E154)' ppo ppo-named
works 'ppo, the critic from the policy' "$grpo" ppo $ppo --output-dir ppo-policy --max-steps 8 \
    --value-model sft/final
works 'ppo goes on with its critic' "$grpo" ppo $ppo --model ppo/final --value-model ppo/value \
    --output-dir ppo-on --max-steps 8
works 'ppo, accumulated' "$grpo" ppo $ppo --output-dir ppo-two --max-steps 24 \
    --per-device-train-batch-size 2 --gradient-accumulation-steps 2
same_run 'ppo: how a minibatch is cut changes nothing' ppo ppo-two
works 'ppo of an adapter' "$grpo" ppo $ppo --output-dir ppo-lora --max-steps 8 --use-peft --lora-r 4 \
    --base-dtype bf16
works 'ppo with all that PPO-max has' "$grpo" ppo $ppo --output-dir ppo-max --max-steps 16 \
    --score-norm standardise --score-clip 1 --critic-warmup-steps 1 --missing-eos-penalty 0.5 \
    --kl-estimator k3 --whiten-rewards --value-learning-rate 2e-3 --ptx-coef 0.1 --ptx-dataset sft.jsonl
says 'ppo --critic-warmup-steps: the updates of the policy' 'ppo-max/final: 8 steps, reward of the last *'
case $(head -n 1 ppo-max/log.jsonl) in
    *'"loss/policy_avg":null'*) good ;;
    *) bad 'ppo --critic-warmup-steps: the policy was trained' ;;
esac
case $(tail -n 2 ppo-max/log.jsonl | head -n 1) in
    *'"loss/ptx":'[0-9]*) good ;;
    *) bad 'ppo --ptx-coef: no loss/ptx (E155)' ;;
esac
cost_of ppo
cost_of ppo-two
cost_of ppo-lora
cost_of ppo-max
# every prompt and completion alike, so that no length is left to chance; the reward model reads the text,
# which may have other tokens
printf '{"prompt": "how do i fix the car?"}\n' > alike.jsonl
alike="$ppo --dataset alike.jsonl --max-completion-length 1 --max-steps 20 --critic-warmup-steps 1"
works 'ppo on one prompt' "$grpo" ppo $alike --output-dir ppo-alike
works 'info --run ppo' "$grpo" info --run ppo --json $alike
sed 's/"reward":{[^}]*}/"reward":{}/g; s/"total_flops":[0-9.e+]*/"total_flops":0/' "$out" > a; mv a "$out"
sed 's/"reward":{[^}]*}/"reward":{}/g; s/"total_flops":[0-9.e+]*/"total_flops":0/g' ppo-alike/log.jsonl > a
mkdir ppo-plan; mv a ppo-plan/log.jsonl
plan_is_log 'info --run ppo' ppo-plan
# epochs that would take hours to time: in parts
works 'info --run ppo, a million epochs' "$grpo" info --run ppo $ppo --num-ppo-epochs 1000000
says 'info --run ppo, a million epochs' '*(parts of a step were timed on this machine, '\
'the rest is counted (E199); without checkpoints and --ptx-dataset)*'
works 'ppo --eval-split' "$grpo" ppo $ppo --output-dir ppo-eval --max-steps 8 --eval-split 0.1
says 'ppo --eval-split' '*before and after*ppo-eval/final minus sft/final*'
works 'a recipe' "$grpo" ppo --config ppo/config.json --output-dir ppo-recipe
same_run "ppo: a run's config.json gives the run again" ppo ppo-recipe
long="$grpo ppo $ppo --max-steps 240 --save-steps 8 --score-norm scale"
works 'ppo, 240 steps' $long --output-dir ppo-whole
killed ppo ppo-whole ppo-killed $long
same 'ppo: the log, and what it cost' ppo-whole/log.jsonl ppo-killed/log.jsonl
same 'ppo: the critic after kill -9 and --resume' \
    ppo-whole/value/model.safetensors ppo-killed/value/model.safetensors
works 'train' "$grpo" train --model sft/final --dataset prompts.jsonl --reward-model reward/final \
    --max-completion-length 16 --num-generations 4 --max-steps 2 --output-dir train --beta 0.1
cp -R ppo ppo-headless
sed 's/"output_dir": "ppo"/"output_dir": "ppo-headless"/' ppo/config.json > ppo-headless/config.json
cp train/checkpoint.safetensors ppo-headless/
refuses '*ppo-headless/checkpoint.safetensors: is of a run of another command: found train, expected ppo*' \
    "$grpo" ppo $ppo --output-dir ppo-headless --max-steps 24 --resume
printf '{"prompt": "hi"}\n' > one.jsonl
silent='i=0; while read -r line; do if [ $i -lt 2 ]; then v=1; else v=null; fi; '\
'echo "{\"id\": $i, \"scores\": {\"a\": $v}}"; i=$((i + 1)); done'
refuses '*no completion of the generation was scored*' \
    "$grpo" ppo --model sft/final --dataset prompts.jsonl --reward-cmd "$silent" --max-completion-length 16 \
    --missing-labels mean --max-steps 4 --output-dir silent
"$world" sft --n 300 --seed 7 > other.jsonl
works 'another tokenizer' "$grpo" init --tokenizer-data other.jsonl --output-dir other --hidden-size 16 \
    --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32 --vocab-size 430
refuses '*--value-model other: its tokenizer.json is not that of sft/final*' \
    "$grpo" ppo $ppo --output-dir x --value-model other
refuses '*--value-model ppo-lora/final: is an adapter*' \
    "$grpo" ppo $ppo --output-dir x --value-model ppo-lora/final
refuses '*--num-generations 3 does not divide the 4 completions of a minibatch*' \
    "$grpo" ppo $ppo --output-dir x --num-generations 3
refuses '*--num-generations: found 0*' "$grpo" ppo $ppo --output-dir x --num-generations 0
refuses '*cliprange: found 2*' "$grpo" ppo $ppo --output-dir x --cliprange 2
refuses '*lam 2*' "$grpo" ppo $ppo --output-dir x --lam 2
refuses '*num_ppo_epochs 0*' "$grpo" ppo $ppo --output-dir x --num-ppo-epochs 0
refuses '*--ptx-coef and --ptx-dataset: expected both or neither*' \
    "$grpo" ppo $ppo --output-dir x --ptx-coef 0.1
refuses '*--critic-warmup-steps: found -1*' "$grpo" ppo $ppo --output-dir x --critic-warmup-steps -1
refuses '*--temperature: found 0*' "$grpo" ppo $ppo --output-dir x --temperature 0
refuses '*kl_coef: the run was started with 0.05, now it is 0.1*' \
    "$grpo" ppo $ppo --output-dir ppo --max-steps 24 --resume --kl-coef 0.1
refuses '*ppo: is not empty*' "$grpo" ppo $ppo --output-dir ppo
if [ -e x ]; then bad 'a refused run left its folder behind'; else good; fi

for command in pairs dpo ppo; do
    works "$command --help" "$grpo" $command --help
    says "$command --help" "grpo $command: *example: grpo $command *"
done

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
