#!/bin/sh
# test_dvpo.sh: DVPO from the outside, on a tiny world: a value model of stored replies, and
# `ppo --critic frozen` by its values alone; what must not change a bit; what it costs; bad input. Run from
# the project's root by `make test`.
# shellcheck disable=SC2086  # $ppo and $frozen are lists of words
. tests/commands.sh

$world sft --n 600 --seed 1 > sft.jsonl
$world grammar --n 200 --seed 101 > labelled.jsonl
sed 's/"labels":{.*"safety"/"labels":{"safety"/' labelled.jsonl > safety.jsonl
$world prompts --kind rl --n 60 --seed 1003 > prompts.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
works sft "$grpo" sft --model base --dataset sft.jsonl --output-dir sft --max-steps 20 \
    --per-device-train-batch-size 16 --learning-rate 5e-3
works 'a regression of one label' "$grpo" reward --model sft/final --dataset safety.jsonl \
    --output-dir safety --max-steps 20 --per-device-train-batch-size 8 --learning-rate 3e-3
works 'a regression of four' "$grpo" reward --model sft/final --dataset labelled.jsonl --output-dir four \
    --max-steps 2 --per-device-train-batch-size 8

# ---- the value model (E240 to E242) --------------------------------------------------------------
reward="--model sft/final --per-device-train-batch-size 8 --learning-rate 3e-3"
value="$reward --dataset labelled.jsonl --loss-type value --reward-weights safety=1,politeness=0.5"
works 'reward --loss-type value' "$grpo" reward $value --output-dir value --max-steps 40 --eval-split 0.2
says 'reward --loss-type value' 'held-out *Pearson*start * 40 *quarter * 40 *half * 40 *end * 40 *'\
'value/final: 40 steps, values, loss *'
cost_of value
case $(cat value/eval.json) in
    '{"start":{"n":40,'*'"pearson":'*'},"quarter":{'*'},"half":{'*'},"end":{'*'}}') good ;;
    *) bad "reward --loss-type value: eval.json: $(cat value/eval.json)" ;;
esac
works 'info of a value model' "$grpo" info --model value/final
says 'info of a value model' '*value head*label 0: value*'
works 'a value model with 2 threads' env OMP_NUM_THREADS=2 "$grpo" reward $value --output-dir value-threads \
    --max-steps 40 --eval-split 0.2
same_run 'a value model: 2 threads' value value-threads
works 'a value model in slices' "$grpo" reward $value --output-dir value-slices --max-steps 40 \
    --eval-split 0.2 --slice-rows 1
same_run 'a value model: --slice-rows' value value-slices
works 'info --run reward --loss-type value' \
    "$grpo" info --run reward --json $value --max-steps 40 --eval-split 0.2
plan_is_log 'info --run reward --loss-type value' value
long="$grpo reward $value --max-steps 400 --save-steps 8"
works 'a value model, 400 steps' $long --output-dir value-whole
killed 'a value model' value-whole value-killed $long
same 'a value model: the log, and what it cost' value-whole/log.jsonl value-killed/log.jsonl
# the same score as "reward"; rows that say it by a label and by its name give the same model
sed 's/"labels":{"safety":\([^}]*\)}/"reward":\1/' safety.jsonl > rewarded.jsonl
grep '"ended":true' rewarded.jsonl > ended.jsonl
works 'values of "reward"' "$grpo" reward $reward --dataset rewarded.jsonl --loss-type value \
    --output-dir value-reward --max-steps 20 --eval-dataset ended.jsonl
# what the table compares at the end of a reply is what `score` says of it
works 'score by a value model' "$grpo" score --dataset ended.jsonl --reward-model value-reward/final
paste "$out" ended.jsonl | sed 's/.*"scores":{"value":\([-0-9.e]*\)}.*"reward":\([-0-9.e]*\)}.*/\1 \2/' > told
sed 's/.*"end":{[^}]*"bias":\([-0-9.e]*\),.*/\1/' value-reward/eval.json >> told
if awk 'NF == 2 { bias += $1 - $2; n++ }
    NF == 1 { d = bias / n - $1; exit !(n > 100 && d < 1e-6 && d > -1e-6) }' told; then good
else bad "the table's last row is not the score: $(tail -n 2 told | tr '\n' ' ')"; fi
sed 's/"labels":{"safety":\([^}]*\)}/"labels":{"one":\1,"other":\1}/' safety.jsonl > twice.jsonl
works 'values of two labels' "$grpo" reward $reward --dataset twice.jsonl --loss-type value \
    --reward-weights one=0.75,other=0.25 --output-dir value-label --max-steps 20
same_run '"reward" is the weighted sum of labels' value-reward value-label
for target in '--lam 0' '--gamma 0.9' '--normalize-labels false'; do
    works "values with $target" "$grpo" reward $reward --dataset rewarded.jsonl --loss-type value \
        --output-dir x --max-steps 20 $target
    if cmp -s x/final/model.safetensors value-reward/final/model.safetensors; then
        bad "$target changes nothing"
    else good; fi
    rm -rf x
done
# at lambda 1 every value is taught the score: with one score for all, nothing is left to learn once it is
# standardised, since the mean is the folder's
sed 's/"reward":[^}]*/"reward":0.25/' rewarded.jsonl > constant.jsonl
works 'one score for all' "$grpo" reward $reward --dataset constant.jsonl --loss-type value --lam 1 \
    --output-dir constant --max-steps 100 --eval-dataset constant.jsonl
case $(cat "$out") in *'end '*' 0.00'*) good ;; *) bad "one score for all: $(cat "$out")" ;; esac
sed -n '1,40p' rewarded.jsonl |
    sed 's/"completion":\("[^"]*"\).*/"chosen":\1,"rejected":"no. it is"}/' > preferred.jsonl
works 'values of pairs' "$grpo" reward $reward --dataset preferred.jsonl --loss-type value \
    --output-dir value-pairs --max-steps 60 --eval-split 0.25
says 'values of pairs: both replies of a pair are held out' '*start * 20 *end * 20 *'
cost_of value-pairs
sed 's/"chosen":\("[^"]*"\).*/"completion":\1}/p; s/"completion":"[^"]*"/"completion":"no. it is"/' \
    preferred.jsonl > both.jsonl
works 'scores of chosen and rejected replies' "$grpo" score --dataset both.jsonl \
    --reward-model value-pairs/final
if sed 's/.*"reward":\([-0-9.e]*\).*/\1/' "$out" |
    awk '{ s[NR % 2] += $1 } END { exit !(NR == 80 && s[1] > s[0]) }'; then good
else bad "values of pairs: rejected replies are worth more: $(head -n 2 "$out")"; fi
refuses '*--gamma, --lam, --reward-weights: are of --loss-type value*' \
    "$grpo" reward $reward --output-dir x --dataset labelled.jsonl --lam 1
refuses '*--gamma, --lam, --reward-weights: are of --loss-type value*' \
    "$grpo" reward $reward --output-dir x --dataset labelled.jsonl --reward-weights safety=1
refuses '*--label-weights: weighs labels in a regression*' \
    "$grpo" reward --output-dir x $value --label-weights safety=1
refuses '*--gamma 2, --lam 0.95: expected 0 to 1*' "$grpo" reward --output-dir x $value --gamma 2
refuses '*labelled.jsonl:1: no "reward" (a number)*--reward-weights*' \
    "$grpo" reward --output-dir x $reward --dataset labelled.jsonl --loss-type value
refuses '*--reward-weights*sefety*' \
    "$grpo" reward --output-dir x $reward --dataset labelled.jsonl --loss-type value --reward-weights sefety=1
(cat preferred.jsonl; head -n 1 rewarded.jsonl) > mixed.jsonl
refuses '*mixed.jsonl:41: expected "chosen" and "rejected", as in the lines before it*' \
    "$grpo" reward --output-dir x $reward --dataset mixed.jsonl --loss-type value
(head -n 1 rewarded.jsonl; cat preferred.jsonl) > mixed.jsonl
refuses '*mixed.jsonl:2: expected a "completion", as in the lines before it*' \
    "$grpo" reward --output-dir x $reward --dataset mixed.jsonl --loss-type value
sed 's/"safety":[0-9.]*/"safety":null/' labelled.jsonl > gap.jsonl
refuses '*gap.jsonl:1: label safety is missing, which --reward-weights weighs 1*' \
    "$grpo" reward --output-dir x $reward --dataset gap.jsonl --loss-type value --reward-weights safety=1
refuses '*loss_type: found "values"*did you mean value*' \
    "$grpo" reward --output-dir x $reward --dataset rewarded.jsonl --loss-type values
refuses '*lam: the run was started with 0.95, now it is 1*' \
    "$grpo" reward $value --output-dir value --max-steps 40 --eval-split 0.2 --resume --lam 1

# ---- the policy by frozen values (E243 to E245) --------------------------------------------------
ppo="--model sft/final --dataset prompts.jsonl --max-completion-length 16 --num-generations 2 \
--per-device-train-batch-size 4 --num-mini-batches 2 --learning-rate 1e-3"
frozen="$ppo --critic frozen --value-model value/final"
for advantage in q td; do
    works "ppo --advantage $advantage" "$grpo" ppo $frozen --output-dir $advantage --max-steps 24 \
        --advantage $advantage
    says "ppo --advantage $advantage" "$advantage/final: 24 steps, reward of the last *weights*"
    cost_of $advantage
done
if grep -q 'is no value model' "$err"; then bad 'ppo --critic frozen: warns of a value model'; else good; fi
works 'ppo --critic frozen by a regression' "$grpo" ppo $frozen --value-model safety/final \
    --output-dir warned --max-steps 8
if grep -q '^ppo: --value-model safety/final: is no value model' "$err"; then good
else bad "ppo --critic frozen by a regression: no warning: $(cat "$err")"; fi
if [ "$(grep -c '"value_grad_norm":null.*"reward":null.*"objective/kl":.*"objective/scores":[-0-9].*'\
'"loss/value_avg":null' td/log.jsonl)" -eq 3 ]; then good
else bad "ppo --critic frozen: its log: $(head -n 1 td/log.jsonl)"; fi
if [ -e td/value ]; then bad 'ppo --critic frozen: writes a critic that it did not train'; else good; fi
if cmp -s q/final/model.safetensors td/final/model.safetensors; then bad '--advantage changes nothing'
else good; fi
works 'td is what is taken by default' "$grpo" ppo $frozen --output-dir default --max-steps 24
same_run 'ppo --advantage td' td default
works 'lambda 1' "$grpo" ppo $frozen --output-dir lam --max-steps 24 --lam 1
if cmp -s lam/final/model.safetensors td/final/model.safetensors; then bad '--lam changes nothing'
else good; fi
works 'ppo with 2 threads' env OMP_NUM_THREADS=2 "$grpo" ppo $frozen --output-dir threads --max-steps 24
same_run 'ppo --critic frozen: 2 threads' td threads
works 'ppo in slices' "$grpo" ppo $frozen --output-dir slices --max-steps 24 --slice-rows 1
same_run 'ppo --critic frozen --slice-rows' td slices
# a prompt of few tokens with many completions: more last rows than the slice has others
printf '{"prompt": "hi"}\n' > hi.jsonl
works 'many completions of a short prompt' "$grpo" ppo $frozen --dataset hi.jsonl --output-dir many \
    --max-completion-length 1 --num-generations 24 --per-device-train-batch-size 24 --num-mini-batches 1 \
    --slice-rows 1 --max-steps 4
cost_of many
long="$grpo ppo $frozen --max-steps 400 --save-steps 8"
works 'ppo --critic frozen, 400 steps' $long --output-dir whole
killed 'ppo --critic frozen' whole killed $long
same 'ppo --critic frozen: the log, and what it cost' whole/log.jsonl killed/log.jsonl
works 'a recipe' "$grpo" ppo --config td/config.json --output-dir recipe
same_run "a run's config.json gives the run again" td recipe
printf '{"prompt": "how do i fix the car?"}\n' > alike.jsonl
alike="$frozen --dataset alike.jsonl --max-completion-length 1 --max-steps 16"
works 'ppo on one prompt' "$grpo" ppo $alike --output-dir alike
works 'info --run ppo --critic frozen' "$grpo" info --run ppo --json $alike
plan_is_log 'info --run ppo --critic frozen' alike
# v_n is the score: what a reward model says of the finished text, constant and all, is what a frozen critic
# reads in the same folder at the last row (of the drawn tokens; the reward model reads the text, which may
# have others)
works 'PPO on one prompt' "$grpo" ppo $ppo --reward-model value/final --dataset alike.jsonl \
    --max-completion-length 1 --output-dir scored --max-steps 8
a=$(sed -n '1s/.*"objective.scores":\([^,]*\),.*/\1/p' alike/log.jsonl) \
    b=$(sed -n '1s/.*"objective.scores":\([^,]*\),.*/\1/p' scored/log.jsonl)
if [ -n "$a" ] && echo "$a $b" | awk '{ exit !($1 - $2 < 0.01 && $2 - $1 < 0.01) }'; then good
else bad "the value of finished texts is $a, their score $b"; fi
works 'PPO beside it' "$grpo" ppo $ppo --reward-model safety/final --output-dir ppo --max-steps 24
memory() { sed -n '$s/.*"predicted".*"critic":\([0-9]*\)}},"measured".*/\1/p' "$1/log.jsonl"; }
if [ "$(memory td)" -lt "$(memory ppo)" ]; then good
else bad "a frozen critic takes $(memory td) bytes, one that learns $(memory ppo)"; fi

refuses '*--critic frozen: needs --value-model*' "$grpo" ppo $ppo --output-dir x --critic frozen
refuses '*four/final: has 4 labels, expected one*' \
    "$grpo" ppo $ppo --output-dir x --critic frozen --value-model four/final
refuses '*sft/final: has 0 labels, expected one*' \
    "$grpo" ppo $ppo --output-dir x --critic frozen --value-model sft/final
refuses '*--advantage q: is of --critic frozen*' \
    "$grpo" ppo $ppo --output-dir x --reward-model safety/final --advantage q
refuses '*critic: found "frosen"*did you mean frozen*' "$grpo" ppo $ppo --output-dir x --critic frosen
for idle in '--critic-warmup-steps 1' '--vf-coef 0.2' '--cliprange-value 0.1' '--value-learning-rate 1e-4' \
    '--reward-model safety/final' '--reward-weights safety=1' '--score-clip 1' '--missing-eos-penalty 1' \
    '--whiten-rewards' '--eval-split 0.1' '--eval-dataset prompts.jsonl'
do
    refuses "*${idle%% *}: has no effect with --critic frozen*leave it out*" \
        "$grpo" ppo $frozen --output-dir x $idle
done
refuses '*lam: the run was started with 0.95, now it is 1*' \
    "$grpo" ppo $frozen --output-dir td --max-steps 24 --resume --lam 1
if [ -e x ]; then bad 'a refused run left its folder behind'; else good; fi

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
