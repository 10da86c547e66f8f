#!/bin/sh
# test_em.sh: reward models of pairs from the outside, on a tiny world: `reward --loss-type bradley_terry`,
# `em`, and `train` by the worst of several rewards; what must not change a bit; what it costs; bad input.
# Run from the project's root by `make test`.
# shellcheck disable=SC2086  # $pairs and the like are lists of words
. tests/commands.sh

$world sft --n 600 --seed 1 > sft.jsonl
$world prompts --kind rl --n 60 --seed 1003 > prompts.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
# eight users of twenty pairs: six want a friendly answer, u3 and u7 a refusal
awk 'BEGIN { for (k = 0; k < 8; k++) for (i = 0; i < 20; i++) {
    yes = "please try step " i % 7 " and tell me"; no = "sorry , i will not do that " i % 5
    turn = k % 4 == 3
    printf "{\"prompt\": \"how do i fix thing %d?\", \"chosen\": \"%s\", \"rejected\": \"%s\", " \
        "\"user\": \"u%d\"}\n", i, turn ? no : yes, turn ? yes : no, k } }' > users.jsonl
grep -v '"u[37]"' users.jsonl > friendly.jsonl

# ---- reward --loss-type bradley_terry (E56) ------------------------------------------------------
pairs="--loss-type bradley_terry --model base --per-device-train-batch-size 8 --learning-rate 3e-3"
friendly="$pairs --dataset friendly.jsonl"
works 'reward of pairs' "$grpo" reward $friendly --output-dir bt --max-steps 40 --eval-split 0.2
says 'reward of pairs: its table' \
    '*held-out *n *loss *accuracy *margin*pairs * 24 *bt/final: 40 steps, pairs, loss *weights*'
cost_of bt
if grep -q '^{"n":24,"loss":0\.[0-9]*,"accuracy":1,"margin":[1-9]' bt/eval.json; then good
else bad "reward of pairs: eval.json: $(cat bt/eval.json)"; fi
if [ "$(grep -c '"loss":.*"accuracy":.*"margin":.*"grad_norm":' bt/log.jsonl)" -eq 40 ]; then good
else bad "reward of pairs: its log: $(head -n 1 bt/log.jsonl)"; fi
case $(head -n 1 bt/log.jsonl) in
    '{"step":1,"loss":0.69'*) good ;;
    *) bad "reward of pairs: the first loss is not log 2: $(head -n 1 bt/log.jsonl)" ;;
esac
works 'reward of pairs with 2 threads' env OMP_NUM_THREADS=2 "$grpo" reward $friendly --output-dir threads \
    --max-steps 40 --eval-split 0.2
same_run 'reward of pairs: 2 threads' bt threads
works 'reward of pairs in slices' "$grpo" reward $friendly --output-dir slices --max-steps 40 \
    --eval-split 0.2 --slice-rows 1
same_run 'reward of pairs: --slice-rows' bt slices
works 'centred' "$grpo" reward $friendly --output-dir centred --max-steps 40 \
    --center-rewards-coefficient 0.1 --eval-dataset users.jsonl --labels taste
if grep -q '"taste"' centred/final/config.json &&
    ! cmp -s centred/final/model.safetensors bt/final/model.safetensors; then good
else bad '--center-rewards-coefficient, --labels'; fi
long="$grpo reward $friendly --max-steps 400 --save-steps 8"
works 'reward of pairs, 400 steps' $long --output-dir whole
killed 'reward of pairs' whole killed $long
works 'info --run reward of pairs' "$grpo" info --run reward --json $friendly --max-steps 40 --eval-split 0.2
plan_is_log 'info --run reward of pairs' bt
refuses '*--labels: found 2, expected one*' "$grpo" reward $friendly --output-dir x --labels a,b
refuses '*--label-weights: weighs labels*pairs have one score*' \
    "$grpo" reward $friendly --output-dir x --label-weights a=1
refuses '*--center-rewards-coefficient: found -1*' \
    "$grpo" reward $friendly --output-dir x --center-rewards-coefficient -1
refuses '*--center-rewards-coefficient: is of --loss-type bradley_terry*' \
    "$grpo" reward --model base --dataset friendly.jsonl --output-dir x --center-rewards-coefficient 1
refuses '*sft.jsonl:1: *chosen*rejected*' "$grpo" reward $pairs --dataset sft.jsonl --output-dir x
refuses '*max-length*' "$grpo" reward $friendly --output-dir x --max-length 3

# ---- train --multi-objective-aggregation worst_group, min (E221) ---------------------------------
grep '"u[37]"' users.jsonl > strict.jsonl
works 'the other taste' "$grpo" reward $pairs --dataset strict.jsonl --output-dir strict --max-steps 20 \
    --labels strict
train="--model base --dataset prompts.jsonl --max-completion-length 8 --num-generations 4 \
--per-device-train-batch-size 8 --reward-model bt/final,strict/final"
for way in worst_group min; do
    works "train: $way" "$grpo" train $train --output-dir $way --max-steps 4 \
        --multi-objective-aggregation $way
    cost_of $way
    works "train: $way, 2 threads" env OMP_NUM_THREADS=2 "$grpo" train $train --output-dir $way-2 \
        --max-steps 4 --multi-objective-aggregation $way
    same_run "train: $way: 2 threads" $way $way-2
    works "trace: $way" "$grpo" trace $train --multi-objective-aggregation $way
    says "trace: $way" '*R = *(E221)*A = (R - mean)/(std*(E84)*'
done
# the reward of a step is the lower of the two means, and the log says whose
number() { sed -n "s/.*\"$1\":\(-*[0-9.e-]*\),.*/\1/p"; }
sed -n 1p worst_group/log.jsonl > line
if echo "$(number reward < line) $(number rewards.reward.mean < line) \
$(number rewards.strict.mean < line) $(number worst_group.reward < line)" |
    awk '{ low = $2 < $3 ? $2 : $3; d = $1 - low; exit !(NF == 4 && d * d < 1e-12 && $4 == ($2 <= $3)) }'
then good
else bad "worst_group: $(cat line)"; fi
if grep -q '"label_share/strict":null.*"worst_group/strict":[01]' line; then good
else bad "worst_group: its log: $(cat line)"; fi
if grep -q worst_group min/log.jsonl; then bad 'min: names a worst group'; else good; fi
for way in worst_group min; do
    refuses "*$way: found one label, expected two or more*" \
        "$grpo" train $train --output-dir x --reward-model bt/final --multi-objective-aggregation $way
    refuses "*$way: *leave --reward-weights out*" \
        "$grpo" train $train --output-dir x --reward-weights reward=1,strict=1 \
        --multi-objective-aggregation $way
done
refuses '*reward-floors*worst_group*' \
    "$grpo" train $train --output-dir x --multi-objective-aggregation worst_group --reward-floors strict=0

# ---- em (E218 to E222) ---------------------------------------------------------------------------
em="--model base --dataset users.jsonl --per-device-train-batch-size 8 --learning-rate 3e-3"
works em "$grpo" em $em --output-dir em --max-steps 20 --eval-split 0.2
says 'em: its table' '*held-out *group_0 * 28 * 1.000 *group_1 * 4 * 1.000 *'\
'em/0/final: 40 steps, 6 of 8 users*em/1/final: 40 steps, 2 of 8 users*'
cost_of em
# they begin as k mod 2, two move in the first round, and in the second nobody does: it ends
if sed 's/"log_likelihoods":[^]]*]//g' em/users.json | grep -q '"u0":{"group":0,.*"u2":{"group":0,.*'\
'"u3":{"group":1,.*"u5":{"group":0,.*"u7":{"group":1,'; then good
else bad "em: users.json: $(cat em/users.json)"; fi
case $(sed -n 1p em/log.jsonl) in
    '{"step":1,"loss/0":0.69'*'"users/0":4,"users/1":4,"round":0,"moved":null,'\
'"log_likelihood":null,'*) good ;;
    *) bad "em: its log: $(sed -n 1p em/log.jsonl)" ;;
esac
case $(sed -n 20p em/log.jsonl) in
    *'"users/0":6,"users/1":2,"round":1,"moved":2,"log_likelihood":-'*) good ;;
    *) bad "em: the first round: $(sed -n 20p em/log.jsonl)" ;;
esac
case $(sed -n 40p em/log.jsonl) in
    *'"round":2,"moved":0,'*) good ;;
    *) bad "em: the second round: $(sed -n 40p em/log.jsonl)" ;;
esac
if [ "$(steps em | wc -l)" -eq 40 ]; then good; else bad "em: does not end when nobody moves"; fi
# E222: both models have mean 0 and deviation 1 over the replies of the pairs
works 'em on all pairs' "$grpo" em $em --output-dir all --max-steps 20
sed 's/"chosen": "\([^"]*\)", "rejected": "\([^"]*\)", .*/"completion": "\1"}\n'\
'{"prompt": "PROMPT", "completion": "\2"}/' users.jsonl |
    awk -F'"' '/PROMPT/ { sub("PROMPT", p) } { p = $4; print }' > replies.jsonl
works 'replies scored' "$grpo" score --dataset replies.jsonl --reward-model all/0/final,all/1/final
if sed 's/.*"group_0":\([^,]*\),"group_1":\([^},]*\).*/\1 \2/' "$out" | awk '
    { for (u = 1; u < 3; u++) { sum[u] += $u; square[u] += $u * $u } }
    END {
        for (u = 1; u < 3; u++) {
            m = sum[u] / NR; v = square[u] / NR - m * m
            if (m * m > 1e-8 || (v - 1) * (v - 1) > 1e-6) exit 1
        }
        exit NR != 320
    }'; then good
else bad "em: not on one scale: $(head -n 1 "$out")"; fi
works 'train by them' "$grpo" train $train --reward-model em/0/final,em/1/final --output-dir maxmin \
    --max-steps 2 --multi-objective-aggregation worst_group
works 'em with 2 threads' env OMP_NUM_THREADS=2 "$grpo" em $em --output-dir em-2 --max-steps 20 \
    --eval-split 0.2
same 'em: 2 threads: the log' em/log.jsonl em-2/log.jsonl
works 'em in slices' "$grpo" em $em --output-dir em-slices --max-steps 20 --eval-split 0.2 --slice-rows 1
for u in 0 1; do
    same "em: 2 threads: model $u" em/$u/final/model.safetensors em-2/$u/final/model.safetensors
    same "em: --slice-rows: model $u" em/$u/final/model.safetensors em-slices/$u/final/model.safetensors
done
# rounds of one update at a small rate, so that the kill comes between two of many; then a run that is over
# goes no further
long="$grpo em $em --learning-rate 1e-6 --seed 3 --max-steps 40 --rounds 10 --save-steps 8"
works 'em, a long run' $long --output-dir em-whole
$long --output-dir em-killed > "$out" 2> "$err" & victim=$!
while kill -0 $victim 2> /dev/null && [ "$(cat em-killed/log.jsonl 2> /dev/null | wc -l)" -lt 12 ]; do
    nap
done
kill -9 $victim 2> /dev/null; wait $victim 2> /dev/null
if [ -d em-killed/1/final ]; then bad 'em: the run was over before it was killed'; else good; fi
works 'em --resume' $long --output-dir em-killed --resume
same 'em: kill -9 and --resume: the log, and what it cost' em-whole/log.jsonl em-killed/log.jsonl
same 'em: kill -9 and --resume: users' em-whole/users.json em-killed/users.json
for u in 0 1; do
    same "em: kill -9 and --resume: model $u" em-whole/$u/final/model.safetensors \
        em-killed/$u/final/model.safetensors
done
works 'em that is over, resumed' "$grpo" em $em --output-dir em --max-steps 20 --eval-split 0.2 --resume
same 'em that is over, resumed: the log' em/log.jsonl em-2/log.jsonl
same 'em that is over, resumed: a model' em/1/final/model.safetensors em-2/1/final/model.safetensors
works 'info --run em' "$grpo" info --run em --json $em --max-steps 20 --rounds 3
# three models for two tastes, one update a round: more rounds than are made would let them settle
works 'em, three groups' "$grpo" em $em --output-dir three --num-groups 3 --max-steps 10 --rounds 2 --use-peft
cost_of three
# four users of one mind: one model has them all, the other stays as it is
awk 'BEGIN { for (k = 0; k < 4; k++) for (i = 0; i < 10; i++)
    printf "{\"prompt\": \"how %d\", \"chosen\": \"please try %d\", \"rejected\": \"sorry no\", " \
        "\"user\": %d}\n", i, i, k }' > one-mind.jsonl
works 'em of one mind' "$grpo" em $em --dataset one-mind.jsonl --output-dir one-mind --max-steps 20
says 'em of one mind' '*one-mind/0/final: 40 steps, 4 of 4 users*one-mind/1/final: 40 steps, 0 of 4 users*'
if grep -q '^em: group 1 has no users; its model stays as it is$' "$err"; then good
else bad "em of one mind: $(cat "$err")"; fi
case $(sed -n 40p one-mind/log.jsonl) in
    *'"loss/1":null,'*'"users/1":0,'*) good ;;
    *) bad "em of one mind: its log: $(sed -n 40p one-mind/log.jsonl)" ;;
esac
cost_of one-mind
(head -n 21 users.jsonl | sed -n '1,3p;21p') > few.jsonl
works 'a user with one pair' "$grpo" em $em --dataset few.jsonl --output-dir few --max-steps 1 --rounds 1
if grep -q '^em: 1 of 2 users have one pair' "$err"; then good
else bad "a user with one pair: $(cat "$err")"; fi
sed 's/"user": "u[0-9]*"/"user": 7/' users.jsonl > alone.jsonl
refuses '*alone.jsonl: user: found 1 user, expected at least one for each of --num-groups 2*' \
    "$grpo" em $em --dataset alone.jsonl --output-dir x
refuses '*users.jsonl:1: rater: found no such column, expected a text or a number: --user-column*' \
    "$grpo" em $em --output-dir x --user-column rater
refuses '*--num-groups: found 9, expected 2 to 8*' "$grpo" em $em --output-dir x --num-groups 9
refuses '*--num-groups: found 1, expected 2 to 8*' "$grpo" em $em --output-dir x --num-groups 1
refuses '*--rounds: found 0*' "$grpo" em $em --output-dir x --rounds 0
refuses '*--center-rewards-coefficient: found -1*' \
    "$grpo" em $em --output-dir x --center-rewards-coefficient -1
refuses '*num_groups: the run was started with 2, now it is 3*' \
    "$grpo" em $em --output-dir em --max-steps 20 --eval-split 0.2 --resume --num-groups 3

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
