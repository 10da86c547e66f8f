#!/bin/sh
# test_mix_weights.sh: `grpo mix`: weights of finished policies, what changes no bit, what is refused. Run from the project's root
# by `make test`.
. tests/commands.sh
root=${grpo%/grpo}
a=$root/data/demo-models/policy reward=$root/data/demo-models/reward
$world sft --n 300 --seed 3 > plain.jsonl
$world demos --n 200 --quality 1 --seed 3 > demos.jsonl
works "a reference" "$grpo" sft --model "$a" --dataset plain.jsonl --max-steps 8 --learning-rate 1e-3 --output-dir reference
works "another policy" "$grpo" sft --model "$a" --dataset demos.jsonl --max-steps 8 --learning-rate 1e-3 --output-dir other
r=reference/final b=other/final
$world prompts --kind rl --n 10 --seed 7 > prompts.jsonl
weigh() { "$grpo" mix --models "$a,$b" --reference "$r" --dataset prompts.jsonl --num-generations 6 --steps 10 --prompts-per-step 2 --max-completion-length 20 "$@"; }
works "mirror descent" weigh --output weights.json
says "the table" "policy*lambda*gradient*mean exp(L)*effective replies a prompt: *weights.json: for grpo sample*"
sum=$(sed 's/.*"weights":\[\([^]]*\)\].*/\1/; s/,/ /' weights.json | awk '{ s = $1 + $2 - 1; print s * s < 1e-20 }')
[ "$sum" = 1 ] && good || bad "weights do not sum to 1: $(cat weights.json)"
weigh --output again.json --slice-rows 64 > "$out" 2> "$err"; cmp -s weights.json again.json && good || bad "small slices: other weights"
OMP_NUM_THREADS=2 weigh --output threads.json > "$out" 2> "$err"; cmp -s weights.json threads.json && good || bad "two threads: other weights"
weigh --output more.json --steps 5 > "$out" 2> "$err"; cmp -s weights.json more.json && bad "steps change nothing" || good
works "a policy that is the reference" "$grpo" mix --models "$r,$b" --reference "$r" --dataset prompts.jsonl --num-generations 4 --steps 2 --max-completion-length 8 --slice-rows 64 --output same.json
grep -q '^mix: policy 1 is the reference: its weight means nothing$' "$err" && good || bad "no warning of the reference: $(cat "$err")"
# the four labels of the reward model, a policy each; the coefficients need not be sensible for these policies, but the message then says so
"$grpo" mix --models "$a,$b,$a,$b" --reference "$r" --dataset prompts.jsonl --num-generations 6 --steps 2 --prompts-per-step 5 --max-completion-length 20 --reward-model "$reward" --reward-weights 0.25,0.25,0.25,0.25 --beta 0.1 --output given.json > "$out" 2> "$err"
code=$?
case $code in
0) grep -q '"coefficients":\[' given.json && good || bad "given weights: $(cat given.json)" ;;
*) grep -q 'its log-ratios do not rise with the scores of label' "$err" && good || bad "given weights: $(cat "$err")" ;;
esac

refuses '*--models: found one policy, expected at least two*' "$grpo" mix --models "$a" --reference "$r" --dataset prompts.jsonl --output x.json
refuses '*--reference: not given*' "$grpo" mix --models "$a,$b" --dataset prompts.jsonl --output x.json
refuses '*weights.json: exists already*' weigh --output weights.json
refuses '*--reward-weights, --reward-model and --beta: give all three*' weigh --output x.json --beta 0.1
refuses '*--reward-model: has 4 labels, --models 2 policies*' weigh --output x.json --reward-model "$reward" --reward-weights 1,1,1,1 --beta 0.1
refuses '*--step-size: found 0*' weigh --output x.json --step-size 0
cp -R other/final twisted && echo >> twisted/tokenizer.json
refuses '*twisted: has another tokenizer than*' weigh --output x.json --reference twisted
[ ! -e x.json ] && good || bad "a refused run left a file"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
