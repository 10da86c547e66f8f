#!/bin/sh
# test_em.sh: reward models of pairs from the outside, on a tiny world: `reward --loss-type bradley_terry`; what must not change a bit; what it
# costs; bad input. Run from the project's root by `make test`.
# shellcheck disable=SC2086  # $pairs and the like are lists of words
. tests/commands.sh

$world sft --n 600 --seed 1 > sft.jsonl
$world prompts --kind rl --n 60 --seed 1003 > prompts.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
# eight users of twenty pairs: six want a friendly answer, u3 and u7 a refusal
awk 'BEGIN { for (k = 0; k < 8; k++) for (i = 0; i < 20; i++) {
    yes = "please try step " i % 7 " and tell me"; no = "sorry , i will not do that " i % 5
    turn = k % 4 == 3
    printf "{\"prompt\": \"how do i fix thing %d?\", \"chosen\": \"%s\", \"rejected\": \"%s\", \"user\": \"u%d\"}\n", i, turn ? no : yes, turn ? yes : no, k } }' > users.jsonl
grep -v '"u[37]"' users.jsonl > friendly.jsonl

# ---- reward --loss-type bradley_terry (E56) ------------------------------------------------------
pairs="--loss-type bradley_terry --model base --per-device-train-batch-size 8 --learning-rate 3e-3"
friendly="$pairs --dataset friendly.jsonl"
works 'reward of pairs' "$grpo" reward $friendly --output-dir bt --max-steps 40 --eval-split 0.2
says 'reward of pairs: its table' '*held-out *n *loss *accuracy *margin*pairs * 24 *bt/final: 40 steps, pairs, loss *weights*'
cost_of bt
if grep -q '^{"n":24,"loss":0\.[0-9]*,"accuracy":1,"margin":[1-9]' bt/eval.json; then good; else bad "reward of pairs: eval.json: $(cat bt/eval.json)"; fi
if [ "$(grep -c '"loss":.*"accuracy":.*"margin":.*"grad_norm":' bt/log.jsonl)" -eq 40 ]; then good; else bad "reward of pairs: its log: $(head -n 1 bt/log.jsonl)"; fi
case $(head -n 1 bt/log.jsonl) in '{"step":1,"loss":0.69'*) good ;; *) bad "reward of pairs: the first loss is not log 2: $(head -n 1 bt/log.jsonl)" ;; esac
works 'reward of pairs with 2 threads' env OMP_NUM_THREADS=2 "$grpo" reward $friendly --output-dir threads --max-steps 40 --eval-split 0.2
same_run 'reward of pairs: 2 threads' bt threads
works 'reward of pairs in slices' "$grpo" reward $friendly --output-dir slices --max-steps 40 --eval-split 0.2 --slice-rows 1
same_run 'reward of pairs: --slice-rows' bt slices
works 'centred' "$grpo" reward $friendly --output-dir centred --max-steps 40 --center-rewards-coefficient 0.1 --eval-dataset users.jsonl --labels taste
if grep -q '"taste"' centred/final/config.json && ! cmp -s centred/final/model.safetensors bt/final/model.safetensors; then good; else bad '--center-rewards-coefficient, --labels'; fi
long="$grpo reward $friendly --max-steps 400 --save-steps 8"
works 'reward of pairs, 400 steps' $long --output-dir whole
killed 'reward of pairs' whole killed $long
works 'info --run reward of pairs' "$grpo" info --run reward --json $friendly --max-steps 40 --eval-split 0.2
plan_is_log 'info --run reward of pairs' bt
refuses '*--labels: found 2, expected one*' "$grpo" reward $friendly --output-dir x --labels a,b
refuses '*--label-weights: weighs labels*pairs have one score*' "$grpo" reward $friendly --output-dir x --label-weights a=1
refuses '*--center-rewards-coefficient: found -1*' "$grpo" reward $friendly --output-dir x --center-rewards-coefficient -1
refuses '*--center-rewards-coefficient: is of --loss-type bradley_terry*' "$grpo" reward --model base --dataset friendly.jsonl --output-dir x --center-rewards-coefficient 1
refuses '*sft.jsonl:1: *chosen*rejected*' "$grpo" reward $pairs --dataset sft.jsonl --output-dir x
refuses '*max-length*' "$grpo" reward $friendly --output-dir x --max-length 3

# ---- train --multi-objective-aggregation worst_group, min (E221) ---------------------------------
grep '"u[37]"' users.jsonl > strict.jsonl
works 'the other taste' "$grpo" reward $pairs --dataset strict.jsonl --output-dir strict --max-steps 20 --labels strict
train="--model base --dataset prompts.jsonl --max-completion-length 8 --num-generations 4 --per-device-train-batch-size 8 --reward-model bt/final,strict/final"
for way in worst_group min; do
    works "train: $way" "$grpo" train $train --output-dir $way --max-steps 4 --multi-objective-aggregation $way
    cost_of $way
    works "train: $way, 2 threads" env OMP_NUM_THREADS=2 "$grpo" train $train --output-dir $way-2 --max-steps 4 --multi-objective-aggregation $way
    same_run "train: $way: 2 threads" $way $way-2
    works "trace: $way" "$grpo" trace $train --multi-objective-aggregation $way
    says "trace: $way" '*R = *(E221)*A = (R - mean)/(std*(E84)*'
done
# the reward of a step is the lower of the two means, and the log says whose
number() { sed -n "s/.*\"$1\":\(-*[0-9.e-]*\),.*/\1/p"; }
sed -n 1p worst_group/log.jsonl > line
if echo "$(number reward < line) $(number rewards.reward.mean < line) $(number rewards.strict.mean < line) $(number worst_group.reward < line)" |
    awk '{ low = $2 < $3 ? $2 : $3; d = $1 - low; exit !(NF == 4 && d * d < 1e-12 && $4 == ($2 <= $3)) }'; then good; else bad "worst_group: $(cat line)"; fi
if grep -q '"label_share/strict":null.*"worst_group/strict":[01]' line; then good; else bad "worst_group: its log: $(cat line)"; fi
if grep -q worst_group min/log.jsonl; then bad 'min: names a worst group'; else good; fi
for way in worst_group min; do
    refuses "*$way: found one label, expected two or more*" "$grpo" train $train --output-dir x --reward-model bt/final --multi-objective-aggregation $way
    refuses "*$way: *leave --reward-weights out*" "$grpo" train $train --output-dir x --reward-weights reward=1,strict=1 --multi-objective-aggregation $way
done
refuses '*reward-floors*worst_group*' "$grpo" train $train --output-dir x --multi-objective-aggregation worst_group --reward-floors strict=0

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
