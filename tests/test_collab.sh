#!/bin/sh
# test_collab.sh: `grpo collab` on two small policies: what E259 promises for every prompt, what changes no
# bit, what is refused. Run from the project's root by `make test`.
. tests/commands.sh
root=${grpo%/grpo}
a=$root/data/demo-models/policy reward=$root/data/demo-models/reward
$world demos --n 200 --quality 1 --seed 3 > demos.jsonl
works "another policy" "$grpo" sft --model "$a" --dataset demos.jsonl --max-steps 8 --learning-rate 1e-3 \
    --output-dir other
b=other/final
$world eval --n 2 --seed 7 > prompts.jsonl
n=$(grep -c . prompts.jsonl)
search() {
    "$grpo" collab --models "$a,$b" --reference "$a" --reward-model "$reward" --dataset prompts.jsonl \
        --max-completion-length 20 --top-k 3 --top-p 0.9 "$@"
}
works "collab" search --output replies.jsonl
[ "$(grep -c . replies.jsonl)" -eq "$n" ] && good || bad "a reply to every prompt"
# numbers FILE KEY: a row's number; sums FILE: the reward that score gives
number() { sed 's/.*"'"$2"'":\([-0-9.e]*\).*/\1/' "$1"; }
rewards() {
    "$grpo" score --dataset "$1" --reward-model "$reward" > scored.jsonl 2> "$err" &&
        number scored.jsonl reward
}
rewards replies.jsonl > got
for agent in "$a" "$b"; do
    "$grpo" sample --model "$agent" --dataset prompts.jsonl --temperature 0 --max-completion-length 20 \
        > greedy.jsonl 2> "$err"
    rewards greedy.jsonl > alone
    worse=$(paste got alone | awk '$1 < $2 { n++ } END { print n + 0 }')
    [ "$worse" -eq 0 ] && good || bad "E259: $worse of $n replies are below the greedy reply of $agent"
done
better=$(paste got alone | awk '$1 > $2 + 0.01 { n++ } END { print n + 0 }')
[ "$better" -gt 0 ] && good || bad "no reply is better than a greedy one"
falls=$(sed 's/.*"q":\[\([^]]*\)\].*/\1/' replies.jsonl |
    awk -F, '{ for (i = 2; i <= NF; i++) if ($i < $(i - 1)) n++ } END { print n + 0 }')
[ "$falls" -eq 0 ] && good || bad "E259: q falls $falls times"
# the last q is the reward of the reply itself
sed 's/.*"q":\[\([^]]*\)\].*/\1/' replies.jsonl | awk -F, '{ print $NF }' | paste - got |
    awk '($1 - $2) ^ 2 > 1e-10 { n++ } END { exit n > 0 }' && good ||
    bad "the last q is not the reply's reward"
lengths=$(sed 's/.*"policy_used":\[\([^]]*\)\].*/\1/' replies.jsonl | awk -F, '{ print NF }' | tr '\n' ' ')
[ "$lengths" = "$(number replies.jsonl completion_length | tr '\n' ' ')" ] && good ||
    bad "a policy for every token: $lengths"
[ "$(sed 's/.*"policy_used":\[\([^]]*\)\].*/\1/' replies.jsonl | tr ',' '\n' | sort -u |
    tr '\n' ' ')" = "0 1 " ] && good || bad "both policies are used"

# what it costs, by formula and as it was counted
mkdir priced
works "collab --cost" search --output priced.jsonl --cost priced/log.jsonl
cost_of priced
grep -q '"reference":{"forward":[1-9]' priced/log.jsonl &&
    grep -q '"reward":{"forward":[1-9]' priced/log.jsonl && good || bad "collab --cost: not all networks"
refuses '*priced/log.jsonl: exists already; give another --cost*' \
    search --output again.jsonl --cost priced/log.jsonl

search --batch 2 > batch.jsonl 2> "$err"
cmp -s replies.jsonl batch.jsonl && good || bad "another batch: other bytes"
OMP_NUM_THREADS=2 search --batch 5 --slice-rows 64 > threads.jsonl 2> "$err"
cmp -s replies.jsonl threads.jsonl && good || bad "two threads: other bytes"
search --alpha 1e9 > near.jsonl 2> "$err"
cmp -s replies.jsonl near.jsonl && bad "alpha changes nothing" || good
used=$(sed 's/.*"policy_used":\[\([^]]*\)\].*/\1/' near.jsonl | tr "," "\n" | sort -u)
[ "$used" = 0 ] && good || bad "alpha keeps to the policy that is the reference: $used"
# one agent, one candidate: its greedy reply
"$grpo" collab --models "$b" --reward-model "$reward" --dataset prompts.jsonl --max-completion-length 20 \
    --top-k 1 > one.jsonl 2> "$err"
[ "$(sed 's/"finish_reason".*//' one.jsonl | cksum)" = \
    "$(sed 's/"finish_reason".*//' greedy.jsonl | cksum)" ] && good || bad "one candidate is no greedy reply"
# at token t it is the reply from there on that is decoded: n + ... + 1
sed 's/.*"completion_length":\([0-9]*\).*"decoded_tokens":\([0-9]*\).*/\1 \2/' one.jsonl |
    awk '$2 != $1 * ($1 + 1) / 2 { n++ } END { exit n > 0 }' && good || bad "tokens decoded for one candidate"
works "a program" "$grpo" collab --models "$b" --dataset prompts.jsonl --max-completion-length 3 --top-k 2 \
    --reward-cmd 'while read -r line; do id=${line#*\"id\":}; '\
'echo "{\"id\":${id%%,*},\"scores\":{\"x\":1}}"; done'
grep -q '^collab: the program will be asked for up to [0-9]* replies$' "$err" && good ||
    bad "the estimate of a program: $(cat "$err")"

refuses '*--models: not given*' "$grpo" collab --dataset prompts.jsonl
refuses '*--reward-model: not given*' "$grpo" collab --models "$a" --dataset prompts.jsonl
refuses '*--alpha: found -1, expected a number that is not negative*' search --alpha -1
refuses '*--alpha 1: weighs the divergence from --reference, which is not given*' \
    "$grpo" collab --models "$a" --reward-model "$reward" --dataset prompts.jsonl --alpha 1
refuses '*--top-k: found 0*' search --top-k 0
refuses '*--top-p: found 0*' search --top-p 0
refuses '*--top-p: found 1.5*' search --top-p 1.5
refuses '*replies.jsonl: exists already*' search --output replies.jsonl
refuses '*prompts.jsonl:*: prompt of * exceed the context*' search --max-completion-length 100
cp -R other/final twisted && echo >> twisted/tokenizer.json
refuses '*twisted: has another tokenizer than*' \
    "$grpo" collab --models "$a,twisted" --reward-model "$reward" --dataset prompts.jsonl
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
