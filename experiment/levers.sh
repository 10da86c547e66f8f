#!/bin/sh
# levers.sh: what makes a reward model better: reward models that differ from the first in one thing, trained
# for about as long, and asked about rows that they never saw. Writes docs/real/levers.md; docs/real-model.md
# says what follows. As many go on at once as there are cores, a thread each; stages are kept in runs/levers.
#
# levers.sh NAME makes one of them.
set -eu
cd "$(dirname "$0")/.."
. data/stages.sh
# shellcheck disable=SC2034
grpo=./grpo table=build/demo_table runs=runs/levers only=${1-}
python=build/parity-venv/bin/python judge=build/judge-venv/bin/python
program=$(digest "$grpo")
cores=$(nproc)                  # which says 1 once the next line has been read
export OMP_NUM_THREADS=1
mkdir -p $runs

# What all of them share: the rows, and the policy's first layers.
if stage rows "$(digest data/make_real.py data/real/*.jsonl experiment/levers.py)" 2> /dev/null; then
    python3 data/make_real.py "$work" > "$work/messages.txt"
    python3 experiment/levers.py rows "$work"
    done_stage
fi
rows=$dir
trunk() {           # trunk LAYERS: sets dir
    if stage "trunk-$1" "$(digest data/make_smollm2.py)" 2> /dev/null; then
        if [ "$1" = 30 ]; then $python data/make_smollm2.py "$work"         # it has no more than these
        else $python data/make_smollm2.py "$work" --layers "$1"; fi > "$work/messages.txt"
        done_stage
    fi
}
for layers in 8 15 30; do trunk $layers; done

made=
lever() {           # lever NAME LAYERS ROWS OPTION...
    name=$1 layers=$2 file=$3; shift 3
    if [ "$only" ] && [ "$only" != "$name" ]; then return; fi
    trunk "$layers"; trunk=$dir
    if stage "$name" "$(digest "${trunk##*/}" "$rows/$file.jsonl" "$rows/reward_heldout.jsonl" "$*" \
        "$program")"; then
        $grpo reward --chat-template chatml --per-device-train-batch-size 16 --lr-scheduler-type cosine \
            --warmup-steps 10 --max-length 320 --drop-long --save-steps 0 --model "$trunk" \
            --dataset "$rows/$file.jsonl" --output-dir "$work/run" "$@"
        for asked in reward_heldout refusals; do
            $grpo score --reward-model "$work/run/final" --dataset "$rows/$asked.jsonl" \
                --output "$work/$asked.jsonl"
        done
        done_stage
    fi
    made="$made $dir"
}
names=$(sed -n 's/^lever \([a-z0-9-]*\) .*/\1/p' "$0")
if [ -z "$only" ]; then echo "$names" | xargs -P "$cores" -n 1 sh "$0"; fi

labels="--labels politeness,meaningfulness,safety"
adapter="--use-peft --lora-r 16 --lora-target-modules all-linear"
# shellcheck disable=SC2086
{
lever first       15 reward_train $labels $adapter --learning-rate 1e-3 --max-steps 80
lever rate-low    15 reward_train $labels $adapter --learning-rate 4e-4 --max-steps 80
lever rate-high   15 reward_train $labels $adapter --learning-rate 2.5e-3 --max-steps 80
lever hh-scores   15 hh-scores --labels safety $adapter --learning-rate 1e-3 --max-steps 80
lever hh-pairs    15 hh-pairs --loss-type bradley_terry $adapter --learning-rate 1e-3 --max-steps 80 \
    --per-device-train-batch-size 8
lever full        15 reward_train $labels --learning-rate 1e-4 --max-steps 57
lever layers-30   30 reward_train $labels $adapter --learning-rate 1e-3 --max-steps 40
lever layers-8    8  reward_train $labels $adapter --learning-rate 1e-3 --max-steps 148
lever seed        15 reward_train $labels $adapter --learning-rate 1e-3 --max-steps 80 --seed 43
lever raw-labels  15 reward_train $labels $adapter --learning-rate 1e-3 --max-steps 80 \
    --normalize-labels false
lever few-once    15 few $labels $adapter --learning-rate 1e-3 --max-steps 20
lever few-4       15 few $labels $adapter --learning-rate 1e-3 --max-steps 80
}
# shellcheck disable=SC2086
if [ -z "$made" ]; then
    echo "levers.sh: found \"$only\", expected one of:" $names >&2
    exit 2
elif [ -z "$only" ]; then
    mkdir -p docs/real
    $judge experiment/levers.py table docs/real/levers.md $made
    echo "table: docs/real/levers.md"
fi
