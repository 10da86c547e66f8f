#!/bin/sh
# stage.sh NAME KIND[:FROM] [OPTION...]: makes one stage of the experiment (experiment.mk, others.mk) in
# $EXPERIMENT/NAME, unless it is there.
#
# FROM names a stage of the same scale and seed whose files this one reads in place of the usual ones: pairs,
# reward models.
# A finished stage holds stage.txt: what it was made from. A stage that was made from something else is an
# error, never reused and never overwritten; one that was interrupted goes on from its last checkpoint.
set -eu
name=$1 kind=${2%%:*} from=${2#"${2%%:*}"}; shift 2
from=${from#:}
grpo=./grpo world=build/make_world table=build/demo_table recipe=configs/experiment.json
dir=$EXPERIMENT/$name run=$EXPERIMENT/$name/run
scale=${name%%/*} arm=${name##*/} seed=${name#*/}; seed=${seed%%/*}
draw=$JUDGED
case $scale in search) draw=98; scale=$ABLATION_SCALE ;; esac
texts=$EXPERIMENT/world/$seed start=$EXPERIMENT/$scale/$seed/sft reward=$EXPERIMENT/reward/$seed
case $arm in collapsed) reward=$EXPERIMENT/collapsed/$seed ;; esac

export OMP_NUM_THREADS=1
seconds() {
    awk -F'"cpu_seconds":' 'NF > 1 { split($2, a, "[,}]"); s = a[1] } END { print s }' "$1/run/timing.jsonl"
}
updates() {
    awk -F'"step":' 'NF > 1 { split($2, a, /[,}]/); s = a[1] } END { print s }' "$1/run/timing.jsonl"
}

# ---- what this stage is made from ----------------------------------------------------------------------
part=$kind
case $kind in
collapsed|value|rewarded) part=reward ;;
known) part=em ;;
direct) part=dpo ;;
grouped|staged) part=train ;;
demonstrated) part=sft ;;
world|init|base|ranked|near|bridged|prefs|preferred|demos|diverse|weights|mix|given|mixture|searched-mixture|\
greedy|collab|best-of) part= ;;
esac
made="$kind${from:+ from $from} $*, draw $draw of $N_EVAL, $N_SFT pairs, $N_REWARD rows, $STEPS updates\
${part:+, recipe $("$table" part "$recipe" "$part" | cksum)}"
if [ -f "$dir/stage.txt" ]; then
    [ "$made" = "$(cat "$dir/stage.txt")" ] && exit 0
    echo "$dir/stage.txt: found \"$(cat "$dir/stage.txt")\", expected \"$made\": this folder holds another \
version of the experiment; give another: make experiment EXPERIMENT=FOLDER" >&2
    exit 2
fi
mkdir -p "$dir"
resume=
if [ -f "$run/config.json" ]; then resume=--resume; fi
begun=$(date +%s)

# ---- the work ------------------------------------------------------------------------------------------
quietly() {                             # what a program says, only where it fails
    "$@" 2>> "$dir/messages.txt" || { tail -n 1 "$dir/messages.txt" >&2; exit 2; }
}
train() {                               # train COMMAND OPTION...: a training run in $run
    command=$1; shift
    quietly $grpo "$command" --config "$recipe" --output-dir "$run" --seed "$seed" $resume "$@" \
        > "$dir/result.txt"
    rm -f "$run/checkpoint.safetensors" "$run/checkpoint.before.safetensors"
}
# replies MODEL RUN: its answers to the evaluation's prompts, judged and scored, in RUN/replies.jsonl
replies() {
    $world eval --n "$N_EVAL" --seed "$draw" > "$2/prompts.part"
    quietly $grpo sample --model "$1" --reference "$start/run/final" --dataset "$2/prompts.part" --seed 5 \
        --max-completion-length 60 > "$2/samples.part"
    $world judge < "$2/samples.part" > "$2/judged.part"
    rm -f "$2/replies.part"
    quietly $grpo score --dataset "$2/judged.part" --reward-model "$EXPERIMENT/reward/$seed/run/final" \
        --output "$2/replies.part"
    mv "$2/replies.part" "$2/replies.jsonl"
    rm "$2/prompts.part" "$2/samples.part" "$2/judged.part"
}
# same_time: as many updates as take the CPU seconds that GRPO took, by the first seed's runs; the sampling of
# DPO's pairs counts
same_time() {
    first=$EXPERIMENT/$scale/${SEEDS%% *} more=0
    base=$first/${arm%-time}
    if [ "$kind" = dpo ]; then more=$(cat "$first/pairs/seconds.txt"); fi
    awk -v grpo="$(seconds "$first/GRPO")" -v own="$(seconds "$base")" -v steps="$(updates "$base")" \
        -v more="$more" \
        'BEGIN { n = int((grpo - more) / own * steps); print n < 1 ? 1 : n }'
}

case $kind in
world)
    $world sft --n "$N_SFT" --seed "$seed" > "$dir/sft.jsonl"
    $world grammar --n "$N_REWARD" --seed $((100 + seed)) > "$dir/grammar.jsonl"
    $world prompts --kind reward --n "$N_REWARD" --seed $((110 + seed)) > "$dir/reward_prompts.jsonl"
    $world grammar --n 300 --seed $((300 + seed)) --noise 0 > "$dir/heldout.jsonl"
    $world prompts --kind reward --n 300 --seed $((310 + seed)) > "$dir/heldout_prompts.jsonl"
    $world prompts --kind rl --n $((STEPS * 16)) --seed $((1000 + seed)) > "$dir/rl.jsonl" ;;
init)
    rm -rf "$dir/model"
    quietly $grpo init --tokenizer-data "$texts/sft.jsonl" --vocab-size 799 --max-position-embeddings 112 \
        "$@" --seed "$seed" --output-dir "$dir/model" > /dev/null ;;
sft)
    train sft --model "$EXPERIMENT/$scale/$seed/init/model" --dataset "$texts/sft.jsonl" "$@" ;;
reward)                                 # grammar's replies and the policy's own, at three temperatures
    policy=$EXPERIMENT/$REWARD_SCALE/$seed/sft/run/final n=0 third=$((N_REWARD / 3))
    if [ ! -f "$dir/train.jsonl" ]; then
        for temperature in 0.7 1 1.3; do
            sed -n "$((n * third + 1)),$((n * third + third))p" "$texts/reward_prompts.jsonl" \
                > "$dir/prompts$n.part"
            quietly $grpo sample --model "$policy" --dataset "$dir/prompts$n.part" \
                --temperature $temperature --seed $((200 + 10 * seed + n)) --max-completion-length 60 \
                > "$dir/samples$n.part"
            n=$((n + 1))
        done
        cat "$dir"/samples?.part | $world label --seed $((100 + seed)) > "$dir/labelled.part"
        quietly $grpo sample --model "$policy" --dataset "$texts/heldout_prompts.jsonl" \
            --seed $((300 + seed)) --max-completion-length 60 > "$dir/own.part"
        $world label --noise 0 --seed $((300 + seed)) < "$dir/own.part" > "$dir/heldout.part"
        cat "$texts/heldout.jsonl" >> "$dir/heldout.part"
        cat "$texts/grammar.jsonl" "$dir/labelled.part" > "$dir/train.part"
        mv "$dir/heldout.part" "$dir/heldout.jsonl"
        mv "$dir/train.part" "$dir/train.jsonl"
        rm "$dir"/*.part
    fi
    train reward --model "$policy" --dataset "$dir/train.jsonl" --eval-dataset "$dir/heldout.jsonl" \
        --labels politeness,meaningfulness,actionability,safety ;;
collapsed)                              # WEIGHTS: one label (E58), the weighted sum of the four
    for file in train heldout; do
        $world collapse --weights "$1" < "$EXPERIMENT/reward/$seed/$file.jsonl" > "$dir/$file.jsonl"
    done
    train reward --model "$EXPERIMENT/$REWARD_SCALE/$seed/sft/run/final" --dataset "$dir/train.jsonl" \
        --eval-dataset "$dir/heldout.jsonl" --labels overall ;;
base)                                   # the SFT policy's own replies, beside a copy of its log
    mkdir -p "$run"
    cp "$start/run/config.json" "$start/run/log.jsonl" "$start/run/timing.jsonl" "$run"
    replies "$start/run/final" "$run" ;;
pairs)
    rm -f "$dir/pairs.jsonl" "$dir/cost.json"
    quietly $grpo pairs --config "$recipe" --model "$start/run/final" --dataset "$texts/rl.jsonl" \
        --reward-model "$reward/run/final" --seed "$seed" "$@" \
        --output "$dir/pairs.jsonl" --cost "$dir/cost.json"
    times > "$dir/times.part"           # the second line is of the children: user and system time
    awk 'NR == 2 { gsub(/[ms]/, " "); print $1 * 60 + $2 + $3 * 60 + $4 }' "$dir/times.part" \
        > "$dir/seconds.txt"
    printf '%s,"cpu_seconds":%s}\n' "$(sed '$ s/}$//' "$dir/cost.json")" "$(cat "$dir/seconds.txt")" \
        > "$dir/data.json"
    rm "$dir/times.part" ;;
train|ppo)
    steps=$STEPS
    case $arm in *-time) steps=$(same_time) ;; esac
    train "$kind" --model "$start/run/final" --dataset "$texts/rl.jsonl" \
        --reward-model "$reward/run/final" --max-steps "$steps" "$@"
    replies "$run/final" "$run" ;;
dpo)
    steps=-1
    case $arm in *-time) steps=$(same_time) ;; esac
    pairs=$EXPERIMENT/$scale/$seed/${from:-pairs}
    train dpo --model "$start/run/final" --dataset "$pairs/pairs.jsonl" --max-steps "$steps" "$@"
    [ ! -f "$pairs/data.json" ] || cp "$pairs/data.json" "$run/data.json"
    replies "$run/final" "$run" ;;
*)  . experiment/others.sh ;;
esac
echo "$made" > "$dir/stage.txt"

# ---- progress: the share of the work that is done, by a rough weight of every stage --------------------
now=$(date +%s)
echo "$name $((now - begun))" >> "$EXPERIMENT/seconds.txt"
for stage in $STAGES; do
    if [ -f "$EXPERIMENT/$stage/stage.txt" ]; then echo "done $stage"; else echo "left $stage"; fi
done | awk -v name="$name" -v took=$((now - begun)) -v file="$EXPERIMENT/seconds.txt" -v jobs="${JOBS:-1}" '
    function weight(stage,   w) {       # the work in units of a GRPO run at the smallest scale
        w = stage ~ /^2.0M/ ? 6 : stage ~ /^0.52M/ ? 2 : 1
        if (stage ~ /(init|world|base)/) return 0.05 * w
        return w * (stage ~ /(sft|PPO)/ ? 1.5 : stage ~ /(pairs|DPO$)/ ? 0.4 : 1)
    }
    BEGIN { while ((getline line < file) > 0) { split(line, a, " "); spent += a[2]; worked += weight(a[1]) } }
    $1 == "done" { done++ } $1 == "left" { left += weight($2) } { n++ }
    END {
        printf "[%d/%d] %s: %d s; about %d min left\n", done, n, name, took,
            left * spent / worked / jobs / 60 + 0.5
    }' >&2
