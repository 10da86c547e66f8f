#!/bin/sh
# real.sh [quick]: a real model gets better, and judges from outside say by how much (docs/real-model.md): the
# model's folder, a reward model on people's labels, GRPO with three seeds, replies to prompts of other
# sources, what the judges say, and the page docs/real. `quick` has one seed and less of everything, and
# leaves docs/ as it is.
#
# Every stage is kept in runs/real (data/stages.sh); training that was interrupted goes on.
set -eu
cd "$(dirname "$0")/.."
. data/stages.sh
grpo=./grpo table=build/demo_table recipe=configs/real.json runs=runs/real
python=build/parity-venv/bin/python judge=build/judge-venv/bin/python
quick=${1-} seeds="1 2 3" replies=2 reward_less='' grpo_less=''
if [ "$quick" ]; then seeds=1 replies=1 reward_less="--max-steps 120" grpo_less="--max-steps 12"; fi
mkdir -p "$runs"
start=$(date +%s)
program=$(digest "$grpo")

# What a stage takes, in minutes on two cores; it is asked only for the time left.
minutes() {
    case $1 in
    data) echo 0 ;; reward) echo 28 ;; grpo*) echo 11 ;; replies*) echo 3 ;; *) echo 1 ;;
    esac
}
plan="model data reward"
for seed in $seeds; do plan="$plan grpo-$seed"; done
plan="$plan replies-before"
for seed in $seeds; do plan="$plan replies-$seed"; done
plan="$plan result"

# timed NAME HASH [FILE]: stage, and says how long it and those behind it take.
timed() {
    stage "$@" || return 1
    left=0 seen=
    for name in $plan; do
        if [ "$name" = "$1" ]; then seen=yes; fi
        if [ "$seen" ]; then left=$((left + $(minutes "$name"))); fi
    done
    echo "$(($(date +%s) - start)) s are over, about $left min left" >&2
}
begun=run/config.json
train() {           # train COMMAND OPTION...: in $work/run, from its last checkpoint if it has one
    command=$1; shift
    "$table" part "$recipe" "$command" > "$work/recipe.json"
    resume=
    if [ -f "$work/$begun" ]; then resume=--resume; fi
    $grpo "$command" --config "$work/recipe.json" --output-dir "$work/run" $resume "$@"
}
done_training() { rm -f "$work"/run/checkpoint*.safetensors; done_stage; }      # which are gigabytes

# ---- the policy, and the trunk of the reward model: the policy's first layers
hash=$(digest data/make_smollm2.py)
if timed model "$hash"; then
    for layers in all 15; do
        if [ $layers = all ]; then $python data/make_smollm2.py "$work/$layers"
        else $python data/make_smollm2.py "$work/$layers" --layers $layers; fi > "$work/messages.txt"
    done
    done_stage
fi
policy=$dir/all trunk=$dir/15 model_hash=$hash

# ---- texts and prompts
hash=$(digest data/make_real.py data/real/*.jsonl)
if timed data "$hash"; then
    python3 data/make_real.py "$work"
    done_stage
fi
data=$dir                       # what follows depends on the rows, not on the program that wrote them

# ---- the reward model
hash=$(digest "$model_hash" "$data"/re*.jsonl "$("$table" part "$recipe" reward)" "$reward_less" "$program")
if timed reward "$hash" $begun; then
    # shellcheck disable=SC2086
    train reward --model "$trunk" --dataset "$data/reward_train.jsonl" $reward_less
    for file in reward_heldout refusals; do             # what it says of rows that it never saw
        rm -f "$work/$file.jsonl"
        $grpo score --reward-model "$work/run/final" --dataset "$data/$file.jsonl" \
            --output "$work/$file.jsonl"
    done
    done_training
fi
reward=$dir/run/final heldout=$dir reward_hash=$hash

# ---- GRPO: sees the learned reward only
for seed in $seeds; do
    hash=$(digest "$reward_hash" "$data/prompts_train.jsonl" "$("$table" part "$recipe" train)" "$grpo_less" \
        "seed $seed" "$program")
    if timed "grpo-$seed" "$hash" $begun; then
        # shellcheck disable=SC2086
        train train --model "$policy" --reward-model "$reward" --dataset "$data/prompts_train.jsonl" \
            --seed "$seed" $grpo_less
        done_training
    fi
    eval "grpo_$seed=\$dir grpo_hash_$seed=\$hash"
done

# ---- replies to prompts that come from other sources, with the reward model's scores: a folder a policy, as
# `grpo report` reads it
sampling=$("$table" part "$recipe" sample)
sampled=
for which in before $seeds; do
    if [ "$which" = before ]; then model=$policy run='' from=$model_hash
    else eval "model=\$grpo_$which/run/final run=\$grpo_$which/run from=\$grpo_hash_$which"; fi
    hash=$(digest "$from" "$data/prompts_judge.jsonl" "$reward_hash" "$replies replies" "$sampling" \
        "$program")
    if timed "replies-$which" "$hash"; then
        echo "$sampling" > "$work/recipe.json"
        $grpo sample --config "$work/recipe.json" --model "$model" --reference "$policy" \
            --num-generations "$replies" --dataset "$data/prompts_judge.jsonl" --output "$work/sampled.jsonl"
        $grpo score --reward-model "$reward" --dataset "$work/sampled.jsonl" --output "$work/replies.jsonl"
        rm "$work/sampled.jsonl"
        if [ "$run" ]; then cp "$run/config.json" "$run/log.jsonl" "$run/timing.jsonl" "$work"; fi
        done_stage
    fi
    sampled="$sampled $dir"
done

# ---- what the judges say, and the page
# shellcheck disable=SC2086
hash=$(digest "$sampled" "$reward_hash" data/real/*.jsonl tests/outside_judge.py tests/data/readings.jsonl \
    experiment/real.py "$program")
if timed result "$hash"; then
    # shellcheck disable=SC2086
    $judge experiment/real.py "$work" "$data" "$heldout" $sampled
    pages="before=$work/before"
    for seed in $seeds; do pages="$pages seed-$seed=$work/seed-$seed"; done
    # shellcheck disable=SC2086
    $grpo report $pages --title "A real model: SmolLM2-135M-Instruct, before and after GRPO" \
        --output "$work/report.html" > "$work/messages.txt"
    done_stage
fi
cat "$dir/verdicts.txt"
for seed in $seeds; do
    eval "policy=\$grpo_$seed/run/final"
    sha=$($grpo info --model "$policy" | sed -n 's/^  weights //p')
    published=$(sed -n "s/^${quick:+quick-}seed-$seed //p" data/real/sha256.txt)
    if [ "$sha" = "$published" ]; then echo "weights of seed $seed: SHA-256 $sha, the published bits"
    else echo "weights of seed $seed: SHA-256 $sha; published: ${published:-none}"; fi
done
if [ -z "$quick" ]; then
    mkdir -p docs/real
    cp "$dir/README.md" "$dir/replies.md" "$dir/result.json" "$dir/report.html" docs/real
fi
echo "page: $dir/README.md, replies side by side: $dir/replies.md, curves: $dir/report.html"
echo "this run took $(($(date +%s) - start)) s"
echo "talk to the policy: ./grpo chat --model $policy --temperature 0.7"
