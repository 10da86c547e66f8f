#!/bin/sh
# errors.sh [MODEL]: the errors of the float build against the double build, stage by stage of one GRPO step:
# on the demonstration's policy (made by `make demo`), on MODEL (build/smollm2 unless given, if it is there),
# and how they grow with depth and length in a random network. `make errors`; docs/numerics.md has its output.
# Exit code 1: the demonstration's policy is above a guide value; a real model may be (that page says why).
set -u
cd "$(dirname "$0")/.." || exit 2
float=build/f32/tests/stage_tool double=build/f64/tests/stage_tool
work=build/errors real=${1:-build/smollm2} code=0
mkdir -p "$work"
text_of() {
    sed -n 's/.*"prompt": *"\(.*\)", *"\(response\|completion\|reply\)": *"\([^"]*\)".*/\1 \3/p' |
        sed 's/\\n/ /g; s/\\"//g'
}
# pair MODEL TEXT LAYERS LENGTH N: both builds
pair() {
    $float "$@" "$work/float.safetensors" || exit 2
    $double "$@" "$work/double.safetensors" || exit 2
}
table() { $double compare "$work/float.safetensors" "$work/double.safetensors"; }
row() { printf '%8s' "$1"; $double row "$work/float.safetensors" "$work/double.safetensors" || exit 2; }
heading() {
    printf '%8s' "$1"
    for s in hidden logits logp entropy score adv ratio k3 loss dlogp gradient step; do printf ' %8s' $s; done
    echo
}

build/make_world grammar --n 400 --seed 401 | text_of > "$work/demo.txt"
demo=$(ls -dt runs/demo/grpo-*/run/final 2> /dev/null | grep -v '\.part' | head -n 1)
if [ -n "$demo" ]; then
    echo "== the demonstration's policy, 8 sequences of 96 tokens"
    pair "$demo" "$work/demo.txt" 0 96 8; table || code=1
else echo "== the demonstration's policy: skipped: there is none, run make demo first"; fi
if [ -f "$real/model.safetensors" ]; then
    text_of < data/real/self_instruct.jsonl > "$work/real.txt"
    echo "== $real, 2 sequences of 128 tokens"
    pair "$real" "$work/real.txt" 0 128 2; table
else echo "== $real: skipped: there is no model; see docs/real-model.md"; fi

rm -rf "$work/random"
build/make_world sft --n 600 --seed 1 > "$work/sft.jsonl"
./grpo init --tokenizer-data "$work/sft.jsonl" --output-dir "$work/random" --hidden-size 128 \
    --num-hidden-layers 24 --intermediate-size 352 --initializer-range 0.08 \
    --max-position-embeddings 512 > /dev/null 2>&1 || exit 2
echo "== a random network of width 128, 2 sequences of 128 tokens, by the number of layers"
heading layers
for layers in 1 2 4 8 16 24; do pair "$work/random" "$work/demo.txt" $layers 128 2; row $layers; done
echo "== the same network, 24 layers, 2 sequences, by their length"
heading length
for length in 16 64 128 256 512; do pair "$work/random" "$work/demo.txt" 0 $length 2; row $length; done
exit $code
