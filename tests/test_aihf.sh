#!/bin/sh
# test_aihf.sh: AIHF from the outside, on a tiny world: a reward model and a policy that learn in turns;
# what must not change a bit; what it costs; bad input. Run from the project's root by `make test`.
# shellcheck disable=SC2086  # $aihf is a list of words
. tests/commands.sh

$world sft --n 600 --seed 1 > sft.jsonl
$world prompts --kind rl --n 60 --seed 1003 > prompts.jsonl
$world demos --n 40 --quality 1 --seed 3 > demos.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
works sft "$grpo" sft --model base --dataset sft.jsonl --output-dir sft --max-steps 20 \
    --per-device-train-batch-size 16 --learning-rate 5e-3
works sample "$grpo" sample --model sft/final --dataset prompts.jsonl --num-generations 4 \
    --max-completion-length 12 --seed 2
$world judge < "$out" > judged.jsonl
$world prefer --weights 0.15,0.2,0.15,0.5 --per-user 50 --temperature 0.05 --seed 4 < judged.jsonl |
    grep -v '"\(chosen\|rejected\)":""' > pairs.jsonl

common="--model sft/final --dataset prompts.jsonl --reward-model none --num-generations 4 \
--per-device-train-batch-size 16 --max-completion-length 12 --beta 0.04 --learning-rate 1e-3"
aihf="$common --demonstrations demos.jsonl --preferences pairs.jsonl --reward-steps 3 --policy-steps 2 \
--rounds 3 --reward-learning-rate 3e-3"
works aihf "$grpo" aihf $aihf --output-dir run
says aihf 'run/final: 6 steps, reward of the last *weights*'
cost_of run
if [ "$(grep -c '"step":[1-6],"loss":.*"rewards/reward/mean":.*"round":[123],'\
'"reward_model/demonstrations/loss":[0-9.]*,"reward_model/demonstrations/accuracy":.*'\
'"reward_model/preferences/margin":.*"reward_model/learning_rate"' run/log.jsonl)" -eq 6 ]; then good
else bad "aihf: its log: $(head -n 1 run/log.jsonl)"; fi
works 'the reward model is an ordinary folder' "$grpo" info --model run/reward
says 'the reward model is an ordinary folder' '*label 0: reward*'
works 'it scores' "$grpo" score --dataset demos.jsonl --reward-model run/reward
works 'train goes on with it' "$grpo" train --model run/final --dataset prompts.jsonl \
    --reward-model run/reward --num-generations 4 --per-device-train-batch-size 16 \
    --max-completion-length 12 --max-steps 1 --output-dir train
works 'it is where a run may start' "$grpo" aihf $aihf --reward-model run/reward --rounds 1 --output-dir again
cost_of again

# it learns: demonstrations come to win over the policy's replies, and chosen replies over rejected ones
works 'a reward model alone, nearly' "$grpo" aihf $aihf --rounds 1 --reward-steps 60 --policy-steps 1 \
    --output-dir learned
if sed -n '1s/.*"reward_model.demonstrations.accuracy":\([^,]*\),.*'\
'"reward_model.preferences.accuracy":\([^,]*\),.*/\1 \2/p' learned/log.jsonl |
    awk '{ exit !($1 > 0.7 && $2 > 0.6) }'; then good
else bad "aihf: the reward model learns nothing: $(head -n 1 learned/log.jsonl)"; fi

works 'aihf with 2 threads' env OMP_NUM_THREADS=2 "$grpo" aihf $aihf --output-dir threads
same_run 'aihf: 2 threads' run threads
same 'aihf: 2 threads, the reward model' run/reward/model.safetensors threads/reward/model.safetensors
works 'aihf in slices' "$grpo" aihf $aihf --output-dir slices --slice-rows 1
same_run 'aihf --slice-rows' run slices
same 'aihf --slice-rows, the reward model' run/reward/model.safetensors slices/reward/model.safetensors
works 'a recipe' "$grpo" aihf --config run/config.json --output-dir recipe
same_run "a run's config.json gives the run again" run recipe
works 'two micro-batches an update' "$grpo" aihf $aihf --gradient-accumulation-steps 2 \
    --output-dir accumulated
cost_of accumulated
works 'a policy with an adapter' "$grpo" aihf $aihf --use-peft --lora-r 2 --output-dir lora
cost_of lora
for loss in pair difference; do
    long="$grpo aihf $aihf --demo-loss $loss --policy-steps 5 --rounds 24 --save-steps 4"
    works "aihf --demo-loss $loss, 120 steps" $long --output-dir whole-$loss
    cost_of whole-$loss
    killed "aihf --demo-loss $loss" whole-$loss killed-$loss $long
    same "aihf --demo-loss $loss: the log, and what it cost" whole-$loss/log.jsonl killed-$loss/log.jsonl
    same "aihf --demo-loss $loss: the reward model" \
        whole-$loss/reward/model.safetensors killed-$loss/reward/model.safetensors
done
for other in '--demo-loss difference' '--demo-weight 0.3' '--preference-weight 0.3' \
    '--center-rewards-coefficient 0' '--reward-steps 2' '--policy-steps 3 --rounds 2' \
    '--reward-learning-rate 1e-3'
do
    works "aihf $other" "$grpo" aihf $aihf $other --output-dir x
    if cmp -s x/final/model.safetensors run/final/model.safetensors; then bad "aihf $other changes nothing"
    else good; fi
    rm -rf x
done
works 'demonstrations alone' "$grpo" aihf $common --demonstrations demos.jsonl --preference-weight 0 \
    --rounds 1 --reward-steps 2 --policy-steps 1 --output-dir shown
if grep -q preferences shown/log.jsonl; then bad 'aihf without preferences tells of them'; else good; fi
works 'preferences alone' "$grpo" aihf $common --preferences pairs.jsonl --demo-weight 0 --rounds 1 \
    --reward-steps 2 --policy-steps 1 --output-dir preferred
if grep -q reward_model/demonstrations preferred/log.jsonl; then
    bad 'aihf without demonstrations tells of them'
else good; fi
cost_of preferred
# the reward model that preferences alone teach is the one that `reward` makes of them
works 'the same by reward' "$grpo" reward --model sft/final --dataset pairs.jsonl --loss-type bradley_terry \
    --center-rewards-coefficient 0.01 --per-device-train-batch-size 4 --learning-rate 1e-3 --max-steps 2 \
    --output-dir same
same 'aihf of preferences alone, and reward --loss-type bradley_terry' \
    preferred/reward/model.safetensors same/final/model.safetensors

# nor does it matter where the rejected reply comes from: with one token to choose from, the policy's
# replies are those of sample
works 'the replies to demonstrations' "$grpo" sample --model sft/final --dataset demos.jsonl --temperature 0 \
    --max-completion-length 12
sed 's/.*"completion":\("[^"]*"\),"finish_reason":\("[a-z]*"\).*/"rejected":\1,"rejected_finish_reason":\2/' \
    "$out" > rejected
sed 's/"completion":\("[^"]*"\).*/"chosen":\1/' demos.jsonl |
    paste -d , - rejected | sed 's/$/}/' > shown.jsonl
works 'demonstrations alone, one token to choose from' "$grpo" aihf $common --demonstrations demos.jsonl \
    --preference-weight 0 --top-k 1 --rounds 1 --reward-steps 3 --policy-steps 1 --output-dir chosen
works 'the same by reward' "$grpo" reward --model sft/final --dataset shown.jsonl --loss-type bradley_terry \
    --center-rewards-coefficient 0.01 --per-device-train-batch-size 4 --learning-rate 1e-3 --max-steps 3 \
    --output-dir same-shown
same 'aihf of demonstrations alone, and reward on them and the replies' \
    chosen/reward/model.safetensors same-shown/final/model.safetensors
# replies of earlier rounds stay in the data: 4 demonstrations in the first round's updates and 8 in those of
# the other two, 4 preferences in each; a pair is a prompt and two replies
if grep -q '"sequences":{.*"reward":{"forward":[0-9]*,"backward":288}.*"measured"' run/log.jsonl; then good
else bad "aihf: the reward model learned from $(sed -n \
    '$s/.*"sequences":{\([^}]*}[^}]*}[^}]*}\).*/\1/p' run/log.jsonl)"; fi

works 'info --run aihf' "$grpo" info --run aihf --json $aihf
says 'info --run aihf' '{"command":"aihf","steps":6,*"seconds"*'
# passes that would take hours to time: in parts; the memory is that of the same with one pass
memory_of() { sed 's/.*"memory_bytes":\([0-9]*\),.*\("memory":{[^}]*}\).*/\1 \2/' "$out"; }
a=$(memory_of)
works 'info --run aihf, a million passes' "$grpo" info --run aihf --json $aihf --num-iterations 1000000
says 'info --run aihf, a million passes' '*"seconds_from":"parts of a step were timed on this machine, '\
'the rest is counted (E199); without checkpoints",*'
if [ "$a" = "$(memory_of)" ]; then good
else bad "info --run aihf, timed in parts: memory $(memory_of), expected $a"; fi
printf '{"prompt": "how do i fix the car?"}\n' > alike.jsonl
printf '{"prompt": "how do i fix the car?", "chosen": "yes", "rejected": "no"}\n'\
'{"prompt": "how do i fix the car?", "chosen": "yes", "rejected": "no"}\n' > alike-pairs.jsonl
alike="$common --dataset alike.jsonl --preferences alike-pairs.jsonl --demo-weight 0 \
--max-completion-length 1 --per-device-train-batch-size 4 --reward-steps 3 --policy-steps 2 --rounds 2"
works 'aihf on one prompt' "$grpo" aihf $alike --output-dir alike
works 'info --run aihf on one prompt' "$grpo" info --run aihf --json $alike
# the reward model reads texts, whose tokens need not be those that were drawn: its forward passes are
# told apart
predicted() {
    sed 's/.*"predicted":\({.*\),"memory":.*/\1/; s/,"measured".*//; s/,"memory":.*//
        s/"reward":{"forward":[0-9]*/"reward":{/g; s/"total_flops":[0-9]*//' "$1"
}
tail -n 1 alike/log.jsonl > told
if [ "$(predicted "$out")" = "$(predicted told)" ]; then good
else bad "info --run aihf: $(predicted "$out"), the run: $(predicted told)"; fi
if cat "$out" told |
    sed 's/.*"predicted".*"total_flops":\([0-9]*\),.*"measured".*/\1/; s/.*"total_flops":\([0-9]*\),.*/\1/' |
    awk '{ f[NR] = $1 } END { r = f[1] / f[2]; exit !(r > 0.9 && r < 1.1) }'; then good
else bad 'info --run aihf: all operations'; fi

refuses '*--demonstrations: is missing*--demo-weight 0*' \
    "$grpo" aihf $common --preferences pairs.jsonl --output-dir x
refuses '*--preferences: is missing*--preference-weight 0*' \
    "$grpo" aihf $common --demonstrations demos.jsonl --output-dir x
refuses '*--demo-weight 0, --preference-weight 0: the reward model has nothing to learn*' \
    "$grpo" aihf $common --demo-weight 0 --preference-weight 0 --output-dir x
refuses '*--preferences: has no effect with --preference-weight 0*' \
    "$grpo" aihf $aihf --preference-weight 0 --output-dir x
refuses '*--demo-weight: found -1*' "$grpo" aihf $aihf --demo-weight -1 --output-dir x
refuses '*prompts.jsonl:1: no "completion"*' "$grpo" aihf $aihf --demonstrations prompts.jsonl --output-dir x
refuses '*--demo-loss difference with --center-rewards-coefficient 0: has no lower bound*' \
    "$grpo" aihf $aihf --demo-loss difference --center-rewards-coefficient 0 --output-dir x
refuses '*--demo-loss difference: divides by --beta*' \
    "$grpo" aihf $aihf --demo-loss difference --beta 0 --output-dir x
refuses '*--reward-model: is missing*none*' "$grpo" aihf --model sft/final --dataset prompts.jsonl \
    --demonstrations demos.jsonl --preferences pairs.jsonl --output-dir x
refuses '*--max-steps: has no effect here*--rounds times --policy-steps*' \
    "$grpo" aihf $aihf --max-steps 5 --output-dir x
refuses '*--reward-cmd: has no effect here*' "$grpo" aihf $aihf --reward-cmd cat --output-dir x
refuses '*--rounds: found 0, expected at least 1*' "$grpo" aihf $aihf --rounds 0 --output-dir x
refuses '*sft/final: *expected one*' "$grpo" aihf $aihf --reward-model sft/final --output-dir x
refuses '*prompt of * tokens and --max-completion-length * exceed the context*' \
    "$grpo" aihf $aihf --max-completion-length 1000 --output-dir x
refuses '*demo_loss: found "pairs"*did you mean pair*' "$grpo" aihf $aihf --demo-loss pairs --output-dir x
refuses '*reward_steps: the run was started with 3, now it is 4*' \
    "$grpo" aihf $aihf --output-dir run --resume --reward-steps 4
if [ -e x ]; then bad 'a refused run left its folder behind'; else good; fi

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
