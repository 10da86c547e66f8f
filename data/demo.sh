#!/bin/sh
# demo.sh: the whole method on the demonstration world (data/README.md): SFT of a policy on replies of mixed
# quality, a reward model on noisy labels, GRPO on the learned reward alone, and a table by the judge that
# training never saw.
#
# Every stage is kept in runs/demo (data/stages.sh).
set -eu
cd "$(dirname "$0")/.."
. data/stages.sh
grpo=./grpo world=build/make_world table=build/demo_table runs=runs/demo recipe=configs/demo.json
eval_seed=${EVAL_SEED:-97}              # 98 while tuning; 97 is printed, and was never looked at before
mkdir -p "$runs"
start=$(date +%s)

program=$(digest "$grpo")               # any change of the code makes the stages anew

# ---- the world's files
hash=$(digest "$world")
if stage world "$hash"; then
    $world sft --n 72000 --seed 1 > "$work/sft.jsonl"
    $world prompts --kind reward --n 15000 --seed 102 > "$work/reward_prompts.jsonl"
    $world grammar --n 15000 --seed 101 > "$work/grammar.jsonl"
    $world grammar --n 300 --seed 301 --noise 0 > "$work/heldout.jsonl"
    $world prompts --kind reward --n 300 --seed 302 > "$work/heldout_prompts.jsonl"
    $world prompts --kind rl --n 3520 --seed 1003 > "$work/rl.jsonl"
    done_stage
fi
data=$dir data_hash=$hash
hash=$(digest "$world" "eval $eval_seed")
if stage eval "$hash"; then
    $world eval --n 256 --seed "$eval_seed" > "$work/eval.jsonl"
    done_stage
fi
questions=$dir/eval.jsonl questions_hash=$hash

# ---- the base policy: imitates replies of mixed quality
hash=$(digest "$data_hash" "$("$table" part "$recipe" sft)" "$program")
if stage sft "$hash"; then
    $grpo init --tokenizer-data "$data/sft.jsonl" --vocab-size 799 --max-position-embeddings 112 --seed 1 \
        --output-dir "$work/base"
    $grpo sft --config "$recipe" --model "$work/base" --dataset "$data/sft.jsonl" --output-dir "$work/run"
    done_stage
fi
sft=$dir/run/final sft_hash=$hash

# ---- the reward model: four noisy labels on grammar replies and on the policy's own
hash=$(digest "$sft_hash" "$("$table" part "$recipe" reward)" "$program")
if stage reward "$hash"; then
    n=0
    for temperature in 0.7 1 1.3; do
        sed -n "$((n * 5000 + 1)),$((n * 5000 + 5000))p" "$data/reward_prompts.jsonl" > "$work/prompts.jsonl"
        $grpo sample --model "$sft" --dataset "$work/prompts.jsonl" --temperature $temperature \
            --seed $((200 + n)) --max-completion-length 60 > "$work/samples$n.jsonl"
        n=$((n + 1))
    done
    cat "$work"/samples?.jsonl | $world label --noise 0.1 --seed 103 > "$work/labelled.jsonl"
    cat "$data/grammar.jsonl" "$work/labelled.jsonl" > "$work/train.jsonl"
    $grpo sample --model "$sft" --dataset "$data/heldout_prompts.jsonl" --seed 303 \
        --max-completion-length 60 | $world label --noise 0 --seed 303 > "$work/heldout.jsonl"
    cat "$data/heldout.jsonl" >> "$work/heldout.jsonl"
    $grpo reward --config "$recipe" --model "$sft" --dataset "$work/train.jsonl" \
        --eval-dataset "$work/heldout.jsonl" --output-dir "$work/run"
    done_stage
fi
reward=$dir/run/final reward_hash=$hash

# ---- GRPO: sees the learned reward only
hash=$(digest "$reward_hash" "$("$table" part "$recipe" train)" "$program")
if stage grpo "$hash"; then
    $grpo train --config "$recipe" --model "$sft" --reward-model "$reward" --dataset "$data/rl.jsonl" \
        --output-dir "$work/run"
    done_stage
fi
policy=$dir/run/final grpo_hash=$hash

# ---- the table: the judge is asked for the first time about the trained policy
hash=$(digest "$grpo_hash" "$questions_hash" "$table" "$program")
if stage result "$hash"; then
    for which in before after; do                       # folders as `grpo report` reads them
        if [ $which = before ]; then model=$sft; else model=$policy; fi
        mkdir "$work/$which"
        $grpo sample --model "$model" --reference "$sft" --dataset "$questions" --seed 5 \
            --max-completion-length 60 | $world judge > "$work/judged.jsonl"
        $grpo score --dataset "$work/judged.jsonl" --reward-model "$reward" \
            --output "$work/$which/replies.jsonl"
        rm "$work/judged.jsonl"
    done
    for file in config.json log.jsonl timing.jsonl; do cp "${policy%/final}/$file" "$work/after"; done
    $grpo report SFT="$work/before" GRPO="$work/after" --title "The demonstration: GRPO on a learned reward" \
        --output "$work/report.html" > /dev/null
    sha=$($grpo info --model "$policy" | sed -n 's/^  weights //p')
    $table table "$work/before/replies.jsonl" "$work/after/replies.jsonl" --sha256 "$sha" \
        --published data/demo.sha256 --seconds $(($(date +%s) - start)) --seed "$eval_seed" \
        --result "$work/result.json" > "$work/table.txt"
    done_stage
fi
cat "$dir/table.txt"
echo
echo "page: $dir/report.html: curves, tables, every reply before and after"
echo "files: $sft (before), $policy (after), $reward (reward model), $dir/result.json"
echo "this run took $(($(date +%s) - start)) s; talk to the policy: ./grpo chat --model $policy"
