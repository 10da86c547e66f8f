#!/bin/sh
# test_mix_weights.sh: `grpo mix`: weights of finished policies, what changes no bit, what is refused. Run
# from the project's root by `make test`.
. tests/commands.sh
root=${grpo%/grpo}
a=$root/data/demo-models/policy reward=$root/data/demo-models/reward
$world sft --n 300 --seed 3 > plain.jsonl
$world demos --n 200 --quality 1 --seed 3 > demos.jsonl
works "a reference" "$grpo" sft --model "$a" --dataset plain.jsonl --max-steps 8 --learning-rate 1e-3 \
    --output-dir reference
works "another policy" "$grpo" sft --model "$a" --dataset demos.jsonl --max-steps 8 --learning-rate 1e-3 \
    --output-dir other
r=reference/final b=other/final
$world prompts --kind rl --n 10 --seed 7 > prompts.jsonl
weigh() {
    "$grpo" mix --models "$a,$b" --reference "$r" --dataset prompts.jsonl --num-generations 6 --steps 10 \
        --prompts-per-step 2 --max-completion-length 20 "$@"
}
mkdir mix given
works "mirror descent" weigh --output weights.json --cost mix/log.jsonl
says "the table" \
    "policy*lambda*gradient*mean exp(L)*effective replies a prompt: *weights.json: for grpo sample*"
sum=$(sed 's/.*"weights":\[\([^]]*\)\].*/\1/; s/,/ /' weights.json |
    awk '{ s = $1 + $2 - 1; print s * s < 1e-20 }')
[ "$sum" = 1 ] && good || bad "weights do not sum to 1: $(cat weights.json)"
weigh --output again.json --slice-rows 64 > "$out" 2> "$err"
cmp -s weights.json again.json && good || bad "small slices: other weights"
OMP_NUM_THREADS=2 weigh --output threads.json > "$out" 2> "$err"
cmp -s weights.json threads.json && good || bad "two threads: other weights"
weigh --output more.json --steps 5 > "$out" 2> "$err"
cmp -s weights.json more.json && bad "steps change nothing" || good
cost_of mix
works "sample with these weights" "$grpo" sample --model "$a,$b" --mixture-weights weights.json \
    --dataset prompts.jsonl --max-completion-length 20
weigh --output seed.json --seed 43 > "$out" 2> "$err"
cmp -s weights.json seed.json && bad "the seed changes nothing" || good
weigh --output short.json --steps 1 > "$out" 2> "$err"
grep -q '"prompts":2,' short.json && good || bad "a step reads its prompts alone: $(cat short.json)"
works "a policy that is the reference" "$grpo" mix --models "$r,$b" --reference "$r" --dataset prompts.jsonl \
    --num-generations 4 --steps 2 --max-completion-length 8 --slice-rows 64 --output same.json
grep -q '^mix: policy 1 is the reference: its weight means nothing$' "$err" && good ||
    bad "no warning of the reference: $(cat "$err")"
# goals that are given: both rise with a longer reply, and so do the policies' log-ratios
scores() {
    printf '%s' 'while read -r line; do id=${line#*\"id\":}; '\
'echo "{\"id\":${id%%,*},\"scores\":{\"one\":'"$1"'${#line},\"two\":${#line}}}"; done'
}
works "given weights" weigh --reward-weights one=0.25,two=0.75 --beta 200 --reward-cmd "$(scores "")" \
    --output given.json --cost given/log.jsonl
cost_of given
sed 's/.*"weights":\[\([^]]*\)\],"coefficients":\[\([^]]*\)\].*/\1,\2/' given.json |
    awk -F, '{ exit !((($1 - 0.25 * $3 / 200) / $1) ^ 2 < 1e-20 &&
        (($2 - 0.75 * $4 / 200) / $2) ^ 2 < 1e-20) }' && good || bad "E252: $(cat given.json)"
refuses '*they sum to *; give --reference*' \
    "$grpo" sample --model "$a,$b" --mixture-weights given.json --dataset prompts.jsonl
works "sample with weights that leave some to the reference" "$grpo" sample --model "$a,$b" \
    --mixture-weights given.json --dataset prompts.jsonl --reference "$r" --max-completion-length 20
refuses '*--models: policy 1: its log-ratios do not rise with the scores of label one*' \
    weigh --reward-weights 1,1 --beta 200 --reward-cmd "$(scores -)" --output x.json
refuses '*--reward-weights: found -1 for two*' \
    weigh --reward-weights 2,-1 --beta 1 --reward-cmd "$(scores -)" --output x.json

refuses '*--models: found one policy, expected at least two*' \
    "$grpo" mix --models "$a" --reference "$r" --dataset prompts.jsonl --output x.json
refuses '*--reference: not given*' "$grpo" mix --models "$a,$b" --dataset prompts.jsonl --output x.json
refuses '*weights.json: exists already*' weigh --output weights.json
refuses '*--reward-weights, --reward-model and --beta: give all three*' weigh --output x.json --beta 0.1
refuses '*--reward-model: has 4 labels, --models 2 policies*' \
    weigh --output x.json --reward-model "$reward" --reward-weights 1,1,1,1 --beta 0.1
refuses '*--step-size: found 0*' weigh --output x.json --step-size 0
cp -R other/final twisted && echo >> twisted/tokenizer.json
refuses '*twisted: has another tokenizer than*' weigh --output x.json --reference twisted
[ ! -e x.json ] && good || bad "a refused run left a file"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
