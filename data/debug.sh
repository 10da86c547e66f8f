#!/bin/sh
# debug.sh: a tiny world for the debugger: a two-layer policy and reward model, made once in
# build/debug-world, in a second or two.
set -eu
cd "$(dirname "$0")/.."
dir=build/debug-world
if [ ! -d $dir ]; then
    rm -rf $dir.part; mkdir -p $dir.part
    build/make_world sft --n 200 --seed 1 > $dir.part/sft.jsonl
    build/make_world grammar --n 64 --seed 2 > $dir.part/labelled.jsonl
    build/make_world prompts --kind rl --n 8 --seed 3 > $dir.part/prompts.jsonl
    ./grpo-debug init --tokenizer-data $dir.part/sft.jsonl --vocab-size 400 --hidden-size 16 \
        --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32 --output-dir $dir.part/base
    ./grpo-debug sft --model $dir.part/base --dataset $dir.part/sft.jsonl --max-steps 4 --learning-rate 1e-2 \
        --output-dir $dir.part/sft
    ./grpo-debug reward --model $dir.part/sft/final --dataset $dir.part/labelled.jsonl --max-steps 4 \
        --learning-rate 1e-2 --output-dir $dir.part/reward
    mv $dir.part $dir
fi
cat <<TEXT
one GRPO step under the debugger (breakpoints: CONTRIBUTING.md):
  gdb -ex 'break grpo_loss' -ex run --args ./grpo-debug train --model $dir/sft/final \\
      --reward-model $dir/reward/final --dataset $dir/prompts.jsonl --per-device-train-batch-size 4 \\
      --num-generations 2 --max-completion-length 8 --max-steps 1 --output-dir $dir/grpo-1
TEXT
