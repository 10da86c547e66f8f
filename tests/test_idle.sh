#!/bin/sh
# test_idle.sh: options without effect are said to have none, and have none: the log of a run with them is
# that of a run without. Run from the project's root by `make test`.
. tests/commands.sh
$world sft --n 300 --seed 1 > words.jsonl
works init "$grpo" init --tokenizer-data words.jsonl --output-dir base --hidden-size 16 \
    --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
for i in 1 2 3 4; do
    echo "{\"prompt\":\"how do i fix $i?\",\"completion\":\"first, look.\",\"chosen\":\"first, look.\",\
\"rejected\":\"no.\",\"score_chosen\":$i,\"score_rejected\":0,\"labels\":{\"a\":0.$i},\"g\":\"$((i % 2))\"}"
done > rows.jsonl
judge='i=0; while read -r l; do echo "{\"id\":$i,\"scores\":{\"a\":$((i % 3))}}"; i=$((i + 1)); done'
step() {
    "$grpo" "$@" --model base --dataset rows.jsonl --max-steps 3 --per-device-train-batch-size 4 \
        --learning-rate 1e-2 > "$out" 2> "$err"
}
drawn='--num-generations 2 --max-completion-length 4 --reward-cmd'
# idle COMMAND OPTION VALUE OTHERS...: said to have no effect, and without any
idle() {
    command=$1 option=$2 value=$3; shift 3
    rm -rf with without
    case $command in train | ppo) set -- "$@" $drawn "$judge" ;; esac
    step "$command" --output-dir with "--$option=$value" "$@" || bad "$command --$option: $(tail -n 1 "$err")"
    if grep -q "^$command: accepted without effect: --$option $value: it " "$err"; then good
    else bad "$command --$option: $(grep effect "$err")"; fi
    step "$command" --output-dir without "$@" || bad "$command: $(tail -n 1 "$err")"
    grep -q 'without effect' "$err" && bad "$command $*: $(grep effect "$err")"
    grep -v '"cost"' with/log.jsonl > a; grep -v '"cost"' without/log.jsonl > b
    same "$command --$option" a b
}
# acts COMMAND OPTIONS...: nothing of that is said
acts() {
    rm -rf with
    if step "$@" --output-dir with && ! grep -q 'without effect' "$err"; then good
    else bad "$*: $(grep effect "$err"; tail -n 1 "$err")"; fi
}
idle sft num-train-epochs 5
idle sft warmup-ratio 0.5 --warmup-steps 2
idle sft warmup-steps 2 --lr-scheduler-type constant
idle sft min-lr-ratio 0.5 --lr-scheduler-type constant_with_warmup
idle sft save-total-limit 1 --save-steps 0
idle dpo label-smoothing 0.1
idle dpo label-smoothing 0.1 --loss-type hinge,sft
idle dpo f-alpha-divergence-coef 0.7
idle dpo discopop-tau 0.1
idle dpo tdpo-alpha 0.1 --loss-type tdpo1
idle dpo beta 0.3 --loss-type flow_db
idle dpo bmc-reference policy
idle dpo group-step-size 0.5
idle dpo group-step-size 0.5 --group-column g --group-weights fixed
idle dpo group-loss mean
idle dpo group-weights fixed
idle dpo flow-reward program
idle dpo flow-scores column
idle dpo flow-alpha 0.5
idle dpo flow-gamma 0.5 --loss-type flow_tb
idle dpo subtb-lambda 0.5 --loss-type flow_tb
idle dpo demonstration-weight 2
idle reward normalize-labels false --loss-type bradley_terry
for option in kl-estimator=k1 kl-clamp=1 kl-clamp-log-ratio=1 kl-gradient=none kl-aggregation=token_mean \
    use-bias-correction-kl=false entropy-target=0.5 entropy-coef-delta=0.5 entropy-coef-min=0.1 \
    entropy-coef-max=0.5 sapo-temperature-pos=2 sapo-temperature-neg=2 vespo-k-pos=1 vespo-lambda-pos=1 \
    vespo-k-neg=1 vespo-lambda-neg=1 reward-chat-template=chatml; do
    idle train ${option%=*} ${option#*=}
done
idle ppo kl-estimator k3 --kl-coef 0
acts dpo --loss-type robust --label-smoothing 0.1
acts dpo --loss-type hinge,exo_pair --label-smoothing 0.1
acts dpo --f-divergence-type alpha_divergence --f-alpha-divergence-coef 0.7
acts dpo --group-column g --group-step-size 0.5 --group-loss mean
acts dpo --loss-type flow_subtb --subtb-lambda 0.5 --flow-alpha 0.5
acts dpo --beta 0.3 --ld-alpha 0.5 --loss-weights 2
acts sft --warmup-ratio 0.5 --min-lr-ratio 0.5
acts reward --normalize-labels false
acts sft --save-total-limit 1
# shellcheck disable=SC2086  # a list of words
acts train $drawn "$judge" --beta 0.1 --kl-estimator k1 --reward-timeout 60

# an empty list, as TRL's own configurations have it, is no value
echo '{"report_to": []}' > none.json
acts sft --config none.json

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
