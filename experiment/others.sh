# others.sh: the stages of the nine other methods (others.mk). stage.sh reads it for the kinds that are not
# its own; its names are used here.
here=$EXPERIMENT/$scale/$seed policy=$start/run/final others=build/experiment_others
goals="$here/goal-politeness/run/final,$here/goal-meaningfulness/run/final,\
$here/goal-actionability/run/final,$here/goal-safety/run/final"
source=$here/$from

# prompts_into FOLDER N: the evaluation's prompts, N a row
prompts_into() { mkdir -p "$1"; $world eval --n "$2" --seed "$draw" > "$1/prompts.part"; }
# judged FOLDER OPTION...: FOLDER/samples.part, judged and scored, becomes its replies.jsonl
judged() {
    at=$1; shift
    $world judge < "$at/samples.part" > "$at/judged.part"
    rm -f "$at/replies.part"
    quietly $grpo score --dataset "$at/judged.part" --reward-model "$reward/run/final" "$@" \
        --output "$at/replies.part"
    mv "$at/replies.part" "$at/replies.jsonl"
    rm "$at"/*.part
}
# like RUN: the settings and the log that a page shows beside the replies are those of another run
like() { mkdir -p "$run"; cp "$1/config.json" "$1/log.jsonl" "$1/timing.jsonl" "$run"; }
# mixed OPTION...: weights of the policies of one goal each, in weights.json
mixed() {
    rm -f "$dir/weights.json"
    quietly $grpo mix --models "$goals" --reference "$policy" --dataset "$texts/rl.jsonl" --seed "$seed" \
        --max-completion-length 44 "$@" --output "$dir/weights.json" > "$dir/result.txt"
}
# spoken WEIGHTS: the mixture's replies
spoken() {
    like "$start/run"
    prompts_into "$run" "$N_EVAL"
    quietly $grpo sample --model "$goals" --mixture-weights "$1" --reference "$policy" \
        --dataset "$run/prompts.part" --seed 5 --max-completion-length 60 > "$run/samples.part"
    judged "$run"
}

case $kind in
# ---- data ----------------------------------------------------------------------------------------
ranked)                                 # eight replies of the SFT policy to every prompt of RL,
                                        # judged and scored
    quietly $grpo sample --model "$policy" --dataset "$texts/rl.jsonl" --num-generations 8 \
        --max-completion-length 44 --seed "$seed" > "$dir/samples.part"
    judged "$dir" "$@" ;;
near)                                   # the second against the fourth of FROM's eight
    rm -f "$dir/pairs.jsonl"
    $others ranks 2 4 < "$source/replies.jsonl" > "$dir/ranked.part"
    quietly $grpo pairs --dataset "$dir/ranked.part" --output "$dir/pairs.jsonl"
    rm "$dir/ranked.part" ;;
bridged)                                # FROM's pairs, the chosen reply an edited one: the rejected one
                                        # towards the chosen, or the other way round
    rm -f "$dir/pairs.jsonl"
    grep -v '"\(chosen\|rejected\)":""' "$source/pairs.jsonl" > "$dir/whole.part"
    quietly $grpo pairs --dataset "$dir/whole.part" --bridge-cmd "$world bridge $*" \
        --output "$dir/pairs.jsonl"
    rm "$dir/whole.part" ;;
prefs)                                  # PER-USER: preferences of forty users of two groups between
                                        # replies of the SFT policy
    $world prefer --users 40 --minority 0.2 --per-user "$1" --temperature 0.05 --seed "$seed" \
        < "$here/ranked/replies.jsonl" > "$dir/pairs.jsonl" ;;
preferred)                              # N: preferences by the judge's weighted score
    $world prefer --weights 0.15,0.2,0.15,0.5 --per-user "$1" --temperature 0.05 --seed "$seed" \
        < "$here/ranked/replies.jsonl" > "$dir/pairs.jsonl" ;;
demos)                                  # N QUALITY: demonstrations
    $world demos --n "$1" --quality "$2" --seed "$seed" > "$dir/demos.jsonl" ;;

# ---- reward models -------------------------------------------------------------------------------
rewarded)                               # by Bradley and Terry, on FROM's pairs
    train reward --model "$policy" --dataset "$source/pairs.jsonl" --loss-type bradley_terry "$@" ;;
known)                                  # a network for each group that is told: em with groups for users
    train em --model "$policy" --dataset "$source/pairs.jsonl" --num-groups 2 --user-column group \
        --rounds 1 "$@" ;;
em)
    train em --model "$policy" --dataset "$source/pairs.jsonl" --num-groups 2 --user-column user \
        --eval-split 0.1 "$@"
    $others found "$run/users.json" "$source/pairs.jsonl" "$run/eval.json" > "$dir/found.json" ;;
value)                                  # of the replies that the reward model was trained on
    train reward --model "$policy" --dataset "$reward/train.jsonl" --eval-dataset "$reward/heldout.jsonl" \
        --loss-type value --reward-weights "$WEIGHTS" "$@" ;;

# ---- policies ------------------------------------------------------------------------------------
grouped)                                # GRPO with FROM's networks, whose scores have no fixed scale
    models=$(ls -d "$source"/run/final "$source"/run/[01]/final 2> /dev/null | paste -sd, -)
    train train --model "$policy" --dataset "$texts/rl.jsonl" --reward-model "$models" \
        --reward-clip=-1000,1000 --max-steps "$STEPS" "$@"
    replies "$run/final" "$run" ;;
demonstrated)
    train sft --model "$policy" --dataset "$here/demos/demos.jsonl" "$@"
    replies "$run/final" "$run" ;;
staged)                                 # AIHF's rival: GRPO on a reward model that was finished before
    train train --model "$here/demonstrated/run/final" --dataset "$texts/rl.jsonl" \
        --reward-model "$source/run/final" --reward-clip=-1000,1000 "$@"
    replies "$run/final" "$run" ;;
aihf)
    train aihf --model "$here/demonstrated/run/final" --dataset "$texts/rl.jsonl" \
        --demonstrations "$here/demos/demos.jsonl" --preferences "$source/pairs.jsonl" "$@"
    replies "$run/final" "$run" ;;
direct)
    train dpo --model "$here/demonstrated/run/final" --dataset "$source/pairs.jsonl" \
        --demonstrations "$here/demos/demos.jsonl" "$@"
    replies "$run/final" "$run" ;;
dvpo)
    "$table" part "$recipe" dvpo > "$dir/recipe.json"
    recipe=$dir/recipe.json
    train ppo --model "$policy" --dataset "$texts/rl.jsonl" --critic frozen \
        --value-model "$source/run/final" --max-steps "$STEPS" "$@"
    replies "$run/final" "$run" ;;

# ---- decoding ------------------------------------------------------------------------------------
diverse)                                # eight replies of FROM's policy to a prompt
    prompts_into "$run" "$N_FEW"
    like "$source/run"
    quietly $grpo sample --model "$source/run/final" --reference "$policy" --dataset "$run/prompts.part" \
        --num-generations 8 --seed 5 --max-completion-length 60 > "$run/samples.part"
    judged "$run" ;;
weights)
    printf '{"models":["%s"],"weights":[%s]}\n' "$(echo "$goals" | sed 's/,/","/g')" "$1" \
        > "$dir/weights.json" ;;
mix) mixed "$@" ;;
given)                                  # WEIGHTS: E252's, for the coefficient that FROM's policy has on the
                                        # weighted sum of the goals
    $world prompts --kind rl --n 200 --seed $((1000 + seed)) > "$dir/prompts.part"
    quietly $grpo sample --model "$source/run/final" --reference "$policy" --dataset "$dir/prompts.part" \
        --num-generations 24 --seed 7 --max-completion-length 44 > "$dir/samples.part"
    rm -f "$dir/scored.part"
    quietly $grpo score --dataset "$dir/samples.part" --reward-model "$reward/run/final" \
        --reward-weights "$1" --output "$dir/scored.part"
    $others coefficient "$dir/scored.part" > "$dir/coefficient.txt"
    rm "$dir"/*.part
    mixed --steps 25 --reward-model "$reward/run/final" --reward-weights "$1" \
        --beta "$(cat "$dir/coefficient.txt")" ;;
mixture) spoken "$source/weights.json" ;;
searched-mixture)
    mixed "$@"
    spoken "$dir/weights.json" ;;
greedy)
    like "$source/run"
    prompts_into "$run" "$N_FEW"
    quietly $grpo sample --model "$source/run/final" --reference "$policy" --dataset "$run/prompts.part" \
        --temperature 0 --max-completion-length 44 > "$run/samples.part"
    judged "$run" ;;
collab)
    like "$start/run"
    prompts_into "$run" "$N_FEW"
    rm -f "$run/samples.part"
    quietly $grpo collab --models "$here/goal-actionability/run/final,$here/goal-safety/run/final" \
        --reference "$policy" --reward-model "$reward/run/final" --dataset "$run/prompts.part" \
        --max-completion-length 44 "$@" --output "$run/samples.part"
    judged "$run" ;;
best-of)                                # as many replies of each agent as take FROM's tokens; the best by
                                        # the reward model
    like "$start/run"
    prompts_into "$run" "$N_FEW"
    n=$($others tokens "$source/run/replies.jsonl")
    for goal in actionability safety; do
        quietly $grpo sample --model "$here/goal-$goal/run/final" --reference "$policy" \
            --dataset "$run/prompts.part" --num-generations $((n / 2)) --seed 5 --max-completion-length 44 \
            > "$run/$goal.part"
    done
    rm -f "$run/scored.part"
    cat "$run/actionability.part" "$run/safety.part" > "$run/both.part"
    quietly $grpo score --dataset "$run/both.part" --reward-model "$reward/run/final" \
        --output "$run/scored.part" "$@"
    $others best "$(grep -c . "$run/prompts.part")" 2 < "$run/scored.part" > "$run/samples.part"
    judged "$run" ;;
*)
    echo "stage.sh: found kind \"$kind\", \
which neither experiment/stage.sh nor experiment/others.sh knows" >&2
    exit 2 ;;
esac
