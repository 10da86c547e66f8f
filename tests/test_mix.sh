#!/bin/sh
# test_mix.sh: policies that write as one: `sample --mixture-weights` on small policies: what changes no bit,
# what it cost, what is refused. Run from the project's root by `make test`.
. tests/commands.sh
root=${grpo%/grpo}
r=$root/data/demo-models/policy reward=$root/data/demo-models/reward
$world demos --n 200 --quality 1 --seed 3 > demos.jsonl
$world sft --n 200 --seed 4 > more.jsonl
works "a policy" "$grpo" sft --model "$r" --dataset demos.jsonl --max-steps 6 --learning-rate 1e-3 \
    --output-dir one
works "another policy" "$grpo" sft --model "$r" --dataset more.jsonl --max-steps 3 --learning-rate 1e-3 \
    --output-dir two
a=one/final b=two/final
$world eval --n 3 --seed 7 > prompts.jsonl
both() {
    "$grpo" sample --model "$a,$b" --dataset prompts.jsonl --max-completion-length 20 --num-generations 2 \
        --mixture-weights "$@"
}

# ---- sample -------------------------------------------------------------------------------------
mkdir left half
works "one policy" "$grpo" sample --model "$a" --dataset prompts.jsonl --max-completion-length 20 \
    --num-generations 2 --output alone.jsonl
works "weights 1 and 0" both 1,0 --output first.jsonl
same "weights 1 and 0 are the first policy" alone.jsonl first.jsonl
works "one policy, one weight" "$grpo" sample --model "$a" --mixture-weights 1 --dataset prompts.jsonl \
    --max-completion-length 20 --num-generations 2 --output single.jsonl
same "one policy of weight 1" alone.jsonl single.jsonl
works "halves" both 0.5,0.5 --output half.jsonl --cost half/log.jsonl
cost_of half
if cmp -s half.jsonl alone.jsonl; then bad "the second policy changes nothing"; else good; fi
OMP_NUM_THREADS=2 both 0.5,0.5 --batch 2 > threads.jsonl 2> "$err"
same "threads and batches" half.jsonl threads.jsonl
printf '{"models":["%s","%s"],"weights":[0.5,0.5]}\n' "$a" "$b" > half.json
both half.json > file.jsonl 2> "$err"
same "weights of a file" half.jsonl file.jsonl
works "the reference is one of them" both 0.9,0.6 --reference "$r" --output left.jsonl --cost left/log.jsonl
cost_of left
# policies that are the reference: weights do not matter, and nothing diverges
works "policies alike" "$grpo" sample --model "$r,$r" --mixture-weights 0.25,0.5 --reference "$r" \
    --dataset prompts.jsonl --max-completion-length 20 --output alike.jsonl
if sed 's/.*"kl":\([-0-9.e]*\).*/\1/' alike.jsonl |
    awk '$1 * $1 > 1e-8 { n++ } END { exit n > 0 || NR == 0 }'; then good
else bad "the mixture of a policy with itself diverges: $(cat alike.jsonl)"; fi
refuses '*they sum to 0.8; give --reference*' both 0.4,0.4
refuses '*found -1, expected a number that is not negative*' both -1,2
refuses '*found "x", expected numbers*' both 0.5,x
refuses '*found 3, expected one for each of 2 policies*' both 0.2,0.3,0.5
refuses '*half.json: weight 1 is that of one/final*' "$grpo" sample --model "$b,$a" \
    --mixture-weights half.json --dataset prompts.jsonl
printf '{"weights":[1]}\n' > bad.json
refuses '*bad.json: expected "models" and "weights"*' both bad.json
cp -R two/final twisted && echo >> twisted/tokenizer.json
refuses '*twisted: has another tokenizer than one/final*' "$grpo" sample --model "$a,twisted" \
    --mixture-weights 0.5,0.5 --dataset prompts.jsonl
refuses '*twisted: has another tokenizer than one/final*' "$grpo" sample --model "$a" \
    --mixture-weights 0.5 --reference twisted --dataset prompts.jsonl
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
