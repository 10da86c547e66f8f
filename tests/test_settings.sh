#!/bin/sh
# test_settings.sh: `grpo train` with what other trainers do otherwise: settings that say the same give the
# same bits, settings that do not give others, and bad ones are refused. What each computes,
# tests/test_grpo.c and tests/test_variants.c ask. Run from the project's root by `make test`.
# shellcheck disable=SC2086  # $train is a list of words
. tests/commands.sh

$world sft --n 300 --seed 1 > sft.jsonl
$world prompts --kind rl --n 40 --seed 1003 > prompts.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
works sft "$grpo" sft --model base --dataset sft.jsonl --output-dir sft --max-steps 20 \
    --per-device-train-batch-size 16 --learning-rate 5e-3
cat > letters.sh <<'END'
while IFS= read -r line; do
    text=${line#*\"completion\":\"}; text=${text%%\",\"*}
    id=${line#*\"id\":}
    echo "{\"id\":${id%%,*},\"scores\":{\"brevity\":$((100 - ${#text}))}}"
done
END
train="--model sft/final --dataset prompts.jsonl --num-generations 4 --per-device-train-batch-size 8 \
--gradient-accumulation-steps 2 --max-completion-length 12 --learning-rate 3e-3 --max-steps 3 \
--num-iterations 2"
run() {
    name=$1; shift
    works "train $*" "$grpo" train $train --reward-cmd 'sh letters.sh' --output-dir "$name" "$@"
}
weights() { same "$1" "$2/final/model.safetensors" "$3/final/model.safetensors"; }
apart() {
    if cmp -s "$2/final/model.safetensors" "$3/final/model.safetensors"; then bad "$1: the same weights"
    else good; fi
}

# one loss said in two ways
run bnpo --loss-type bnpo --beta 0.04
run mean --loss-type grpo --loss-aggregation token_mean --beta 0.04
weights 'bnpo is token_mean' bnpo mean
run band --loss-type bnpo --beta 0.04 --policy-term ratio --kl-estimator k3 --kl-aggregation token_mean \
    --baseline group --count-empty-rows true
weights 'what is the default may be said' bnpo band
run far --loss-type bnpo --beta 0.04 --log-ratio-max 50 --kl-clamp 1000 --kl-clamp-log-ratio 100
weights 'bounds that nothing reaches change nothing' bnpo far
for other in '--baseline leave_one_out' '--baseline length_weighted' '--baseline none' '--std-ddof 0' \
    '--std-eps 1' '--scale-rewards leave_one_out' '--advantage-whitening tokens' '--policy-term logp' \
    '--policy-term cispo --cispo-clip-max 0.9' '--kl-estimator k2' '--kl-gradient none' '--kl-clamp 1e-6' \
    '--log-ratio-max 1e-4' '--loss-aggregation sequence_mean' \
    '--loss-aggregation sequence_sum --aggregation-scope update' '--kl-aggregation fixed_total' \
    '--entropy-coef 0.01 --entropy-aggregation sequence_sum'
do
    n=$((${n:-0} + 1))
    run "other$n" --loss-type bnpo --beta 0.04 $other
    apart "$other" bnpo "other$n"
done
run tight --loss-type bnpo --beta 0.04 --epsilon 1e-5
run open --loss-type bnpo --beta 0.04 --epsilon 1e-5 --policy-term unclipped
apart 'a clip that bites' tight open
weights 'without a clip there is no epsilon' open bnpo
refuses '*std_ddof: found 3, expected 0 or 1*' \
    "$grpo" train $train --reward-cmd 'sh letters.sh' --output-dir x --std-ddof 3
refuses '*kl_clamp: found -1, expected a number > 0*' \
    "$grpo" train $train --reward-cmd 'sh letters.sh' --output-dir x --kl-clamp -1
refuses '*policy_term*logg*expected one of*' \
    "$grpo" train $train --reward-cmd 'sh letters.sh' --output-dir x --policy-term logg
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
