#!/bin/sh
# test_watch.sh: what one sees of a run of `train` while it goes on: held-out prompts, the best policy, an
# early end, completions. Run from the project's root by `make test`.
# shellcheck disable=SC2086  # $train is a list of words
. tests/commands.sh

$world sft --n 600 --seed 1 > sft.jsonl
$world prompts --kind rl --n 60 --seed 1003 > prompts.jsonl
$world prompts --kind rl --n 16 --seed 1004 | grep -v -x -F -f prompts.jsonl > held.jsonl
works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
works sft "$grpo" sft --model base --dataset sft.jsonl --output-dir sft --max-steps 20 \
    --per-device-train-batch-size 16 --learning-rate 5e-3
# a reply of few letters is a good one
cat > letters.sh <<'EOF'
while IFS= read -r line; do
    text=${line#*\"completion\":\"}; text=${text%%\",\"*}
    id=${line#*\"id\":}
    echo "{\"id\":${id%%,*},\"scores\":{\"brevity\":$((100 - ${#text}))}}"
done
EOF
plain="--model sft/final --dataset prompts.jsonl --num-generations 4 --per-device-train-batch-size 16 \
--max-completion-length 12 --beta 0.04 --learning-rate 3e-3 --max-steps 12"
train="$plain --eval-dataset held.jsonl --eval-steps 3"
score() { "$grpo" train $train --reward-cmd 'sh letters.sh' "$@"; }

works 'train --eval-steps' score --output-dir run
cost_of run
if [ "$(grep -c '"eval_reward"' run/log.jsonl)" -eq 4 ] &&
    [ "$(grep -c '"step":\(3\|6\|9\|12\),.*"eval_reward":[-0-9.]*,"eval_completions/mean_length":[0-9.]*,'\
'"eval_completions/clipped_ratio":[0-9.]*,"eval_kl":[-0-9.e]*,"eval_rewards/brevity/mean":[-0-9.]*}' \
        run/log.jsonl)" -eq 4 ]; then good
else bad "train --eval-steps: its log: $(sed -n 3p run/log.jsonl)"; fi
works 'the same with nothing watched' "$grpo" train $plain --reward-cmd 'sh letters.sh' --output-dir bare
sed 's/,"eval_[^}]*}/}/; /"cost"/d' run/log.jsonl > told
sed '/"cost"/d' bare/log.jsonl > bare.log
same 'evaluations change no other number of the log' told bare.log
same 'evaluations change no weight' run/final/model.safetensors bare/final/model.safetensors
# the number is what sample and score make of the same policy; every prompt is answered once,
# from the run's seed
works 'the last policy answers' "$grpo" sample --model run/final --reference sft/final --dataset held.jsonl \
    --max-completion-length 12 --temperature 1 --top-k 0 --seed 42
sed 's/.*"completion_length":\([0-9]*\).*"kl":\([-0-9.e]*\).*/\1 \2/' "$out" |
    awk '{ n += $1; kl += $2 } END { printf "%.6f %.6f\n", n / NR, kl / n }' > want
sed -n '12s/.*"eval_completions.mean_length":\([^,]*\),.*"eval_kl":\([^,]*\),.*/\1 \2/p' run/log.jsonl |
    awk '{ printf "%.6f %.6f\n", $1, $2 }' > got
same 'an evaluation is what sample says' want got || cat want got
works 'evaluations between lines of the log' score --output-dir sparse --logging-steps 4
if [ "$(sed 's/{"step":\([0-9]*\),.*/\1/' sparse/log.jsonl | tr '\n' ' ')" = '3 4 6 8 9 12 12 ' ]; then good
else bad "steps of the log: $(sed 's/{"step":\([0-9]*\),.*/\1/' sparse/log.jsonl | tr '\n' ' ')"; fi
works 'evaluations with 2 threads' env OMP_NUM_THREADS=2 "$grpo" train $train --reward-cmd 'sh letters.sh' \
    --output-dir threads
same_run 'evaluations: 2 threads' run threads

# ---- the best policy -----------------------------------------------------------------------------
works 'the best by its length' score --metric-for-best-model eval_completions/mean_length \
    --greater-is-better true --load-best-model-at-end --output-dir longest
best=$(sed -n 's/.*"step":\([0-9]*\),.*"eval_completions.mean_length":\([^,]*\),.*/\2 \1/p' \
    longest/log.jsonl | sort -k1,1gr -k2,2g | head -n 1)
if grep -q "^final/ is the policy of step ${best#* }, whose eval_completions/mean_length is " "$err"
then good
else bad "the best policy is that of step ${best#* }: $(grep final/ "$err")"; fi
same 'final/ is the best policy' longest/final/model.safetensors longest/best/model.safetensors
works 'the best is kept, however few checkpoints are' score \
    --metric-for-best-model eval_completions/mean_length --greater-is-better true --load-best-model-at-end \
    --save-steps 1 --save-total-limit 1 --output-dir few
same 'the best of few checkpoints' longest/final/model.safetensors few/final/model.safetensors
if [ "$(echo few/checkpoint*)" = few/checkpoint.safetensors ]; then good
else bad "--save-total-limit 1 keeps $(echo few/checkpoint*)"; fi
works 'the best by its reward' score --metric-for-best-model reward --output-dir rewarded
same_run 'keeping the best changes nothing' run rewarded
if [ -f rewarded/best/model.safetensors ] && [ -f rewarded/best/tokenizer.json ]; then good
else bad 'best/ is no model folder'; fi
works 'an early end' score --metric-for-best-model eval_kl --greater-is-better true --learning-rate 0 \
    --early-stopping-patience 2 --output-dir early
if [ "$(tail -n 1 early/log.jsonl | sed 's/{"step":\([0-9]*\),.*/\1/')" = 9 ] &&
    grep -q '^early stopping: the last 2 evaluations were not better than step 3' "$err"; then good
else bad "early stopping: $(tail -n 3 "$err")"; fi
works 'a run that ended early goes on to its end' score --metric-for-best-model eval_kl \
    --greater-is-better true --learning-rate 0 --early-stopping-patience 2 --output-dir early --resume
long="$grpo train $train --max-steps 120 --save-steps 4 --metric-for-best-model reward \
--load-best-model-at-end --log-completions --reward-cmd"
works 'watched, 120 steps' $long 'sh letters.sh' --output-dir whole
killed 'a watched run' whole killed $long 'sh letters.sh'
same 'a watched run: the log' whole/log.jsonl killed/log.jsonl
same 'a watched run: the completions' whole/completions.jsonl killed/completions.jsonl
if [ "$(grep -c . whole/completions.jsonl)" -eq 1920 ]; then good
else bad "completions.jsonl has $(grep -c . whole/completions.jsonl) lines, expected 120 times 16"; fi
case $(head -n 1 whole/completions.jsonl) in
    '{"step":1,"messages":[{"role":"user","content":"'*'}],"completion":"'*'","finish_reason":"'*'",'\
'"scores":{"brevity":'*'},"reward":'*',"advantage":'*'}') good ;;
    *) bad "completions.jsonl: $(head -n 1 whole/completions.jsonl)" ;;
esac
works 'completions on stderr' score --max-steps 1 --log-completions --output-dir told-completions
if grep -q '^step 1: ' "$err" && [ "$(grep -c '^  reward .* advantage ' "$err")" -eq 4 ]; then good
else bad 'completions are not told'; fi
# nothing in a text may steer the terminal that it is told on
printf '{"prompt": "one\\u009btwo\\nthree\\u001bfour"}\n' > steers.jsonl
works 'a prompt with control characters on stderr' "$grpo" train ${plain%% --dataset*} \
    --dataset steers.jsonl ${plain#* --dataset prompts.jsonl} --reward-cmd 'sh letters.sh' --max-steps 1 \
    --log-completions --output-dir steers
if grep -q '^step 1: one  two three four$' "$err"; then good
else bad "control characters are told: $(grep '^step' "$err" | od -c | head -n 3)"; fi

# ---- TensorBoard -----------------------------------------------------------------------------------
works 'train --report-to tensorboard' score --report-to tensorboard --output-dir board
same_run '--report-to changes nothing' run board
if [ "$(grep -a -o 'train/reward' board/runs/events.out.tfevents.grpo | wc -l)" -ge 12 ] &&
    [ "$(grep -a -o 'eval/rewards/brevity/mean' board/runs/events.out.tfevents.grpo | wc -l)" -eq 4 ]; then
    good
else bad '--report-to tensorboard: the file lacks numbers'; fi
works 'train --report-to wandb' score --report-to wandb,tensorboard --max-steps 1 --output-dir elsewhere
if grep -q '^train: --report-to wandb: is not written here' "$err" &&
    [ -s elsewhere/runs/events.out.tfevents.grpo ]; then good
else bad "--report-to wandb is not told: $(cat "$err")"; fi
# a folder that cannot be written, as a file of its name makes it
works 'a run to go on with' score --max-steps 4 --save-steps 2 --output-dir shut
rm -rf shut/final && : > shut/runs
"$grpo" train $train --reward-cmd 'sh letters.sh' --report-to tensorboard --output-dir shut --resume \
    > "$out" 2> "$err"; code=$?
if [ $code -eq 2 ] && tail -n 1 "$err" | grep -q 'shut/runs: could not be made: a file has that name; '\
'make the folder writable, or leave --report-to out$'; then good
else bad "a folder for TensorBoard that cannot be: exit code $code: $(tail -n 1 "$err")"; fi

# ---- bad input -----------------------------------------------------------------------------------
cat held.jsonl prompts.jsonl > overlap.jsonl
works 'held-out prompts among those of training' "$grpo" train $plain --reward-cmd 'sh letters.sh' \
    --eval-dataset overlap.jsonl --max-steps 1 --output-dir overlap
if grep -q '^grpo: 6[0-9] of 7[0-9] held-out prompts are among those of training' "$err"; then good
else bad "an overlap is not told: $(cat "$err")"; fi
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"prompt\":\"fix part $((i % 2))\",\"completion\":\"look $i\",\"chosen\":\"look $i\",\
\"rejected\":\"no\",\"labels\":{\"a\":0.$i},\"user\":\"u$((i % 2))\"}"
done > few.jsonl
for command in 'reward --eval-dataset few.jsonl' 'reward --loss-type bradley_terry --eval-split 0.25' \
    'dpo --eval-split 0.25' 'em --num-groups 2 --rounds 1 --eval-split 0.25'; do
    rm -rf shared
    works "$command: held-out prompts among those of training" "$grpo" $command --model base \
        --dataset few.jsonl --max-steps 1 --per-device-train-batch-size 2 --output-dir shared
    if grep -q "^${command%% *}: [28] of [28] held-out prompts are among those of training: \
what they say of new ones is too good$" "$err"; then good
    else bad "$command: an overlap is not told: $(head -n 2 "$err")"; fi
done
cp -R longest gone && rm -rf gone/best gone/final
"$grpo" train $train --reward-cmd 'sh letters.sh' --metric-for-best-model eval_completions/mean_length \
    --greater-is-better true --load-best-model-at-end --output-dir gone --resume > "$out" 2> "$err"; code=$?
if [ $code -eq 2 ] && grep -q 'gone/best.*the best model of step [0-9]* was kept there' "$err"; then good
else bad "a best model that is gone: exit code $code: $(tail -n 1 "$err")"; fi
works 'no evaluation, and so no best policy' score --max-steps 2 --metric-for-best-model eval_reward \
    --load-best-model-at-end --output-dir unseen
if grep -q '^final/ is the last policy: no evaluation had a number for eval_reward$' "$err"; then good
else bad "there is no best policy, and nobody says so: $(tail -n 1 "$err")"; fi
# a program that answers otherwise at the end than it did when it was tried out: 2 trial lines, 2 times 16
# completions, and then the table
turns() {
    printf 'i=0; while read -r l; do s="\"a\":$((i %% 3)),\"b\":1"; [ $i -lt 34 ] || s='"'%s'"'; '\
'echo "{\"id\":$i,\"scores\":{$s}}"; i=$((i + 1)); done\n' "$1" > turns.sh
}
turned() { "$grpo" train $plain --max-steps 2 --eval-dataset held.jsonl --reward-cmd 'sh turns.sh' "$@"; }
turns '"c":1,"b":1'
refuses '*unknown label "c", the trial lines did not have it; *line 34 that it got, which is of '\
'held.jsonl:1; turned/final is written: mend the cause, then --resume makes the table' \
    turned --output-dir turned
turns '"a":1,"b":1'
works 'the table of a run whose program was mended' turned --output-dir turned --resume
says 'the table of a run whose program was mended' '*before and after*turned/final minus sft/final*'
turns '"b":1'
works 'a label that is gone at the end' turned --output-dir gone-label
if [ "$(grep -c '^eval: [a-z/-]*final: no reply has a score for "a": ' "$err")" -eq 2 ]; then good
else bad "a label that is gone: $(cat "$err")"; fi
turns ''
works 'no label at the end' turned --output-dir no-label
if [ "$(grep -c '^eval: [a-z/-]*final: no reply has a score for "[ab]": ' "$err")" -eq 4 ]; then good
else bad "no label at the end: $(cat "$err")"; fi
refuses '*--eval-steps: nothing is held out*' \
    "$grpo" train $plain --reward-cmd 'sh letters.sh' --eval-steps 2 --output-dir x
refuses '*--metric-for-best-model: no line of the log has "eval_rewrad", did you mean eval_reward*' \
    score --metric-for-best-model eval_rewrad --output-dir x
refuses '*--metric-for-best-model: has no effect without --eval-steps*' \
    score --eval-steps 0 --metric-for-best-model eval_reward --output-dir x
refuses '*--early-stopping-patience: needs --metric-for-best-model*' \
    score --early-stopping-patience 2 --output-dir x
refuses '*eval_steps: found -1, expected a whole number of steps, or a share of all below 1*' \
    score --eval-steps -1 --output-dir x
refuses '*--eval-dataset and --eval-split 0.5: both hold data out*' score --eval-split 0.5 --output-dir x

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
