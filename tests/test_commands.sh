#!/bin/sh
# test_commands.sh: every command from the outside: that it works on a tiny world, that what must not change a
# bit changes none, and that bad input gets exit code 2 and one line that names the place. Run from the
# project's root by `make test`.
# shellcheck disable=SC2086  # $small and $train are lists of words
. tests/commands.sh

sha_of() { sed -n 's/.*"sha256": *"\([0-9a-f]*\)".*/\1/p' "$1" | tail -n 1; }
# damaged FROM TO: a copy of a folder to be spoiled
damaged() { rm -rf "$2"; cp -R "$1" "$2"; }

# ---- a tiny world, and every command once ------------------------------------------------------
$world sft --n 600 --seed 1 > sft.jsonl
$world grammar --n 200 --seed 101 > labelled.jsonl
$world prompts --kind rl --n 60 --seed 1003 > prompts.jsonl
$world eval --n 4 --seed 98 > questions.jsonl

works init "$grpo" init --tokenizer-data sft.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
says init 'base: * parameters, vocabulary 420'
works sft "$grpo" sft --model base --dataset sft.jsonl --output-dir sft --max-steps 20 \
    --per-device-train-batch-size 16 --learning-rate 5e-3 --json
says 'sft --json' '*"final":"sft/final"*'
works reward "$grpo" reward --model sft/final --dataset labelled.jsonl --output-dir reward --max-steps 20 \
    --per-device-train-batch-size 8 --learning-rate 3e-3 --eval-split 0.2
if [ "$(grep -c '"step_time":' reward/timing.jsonl)" -eq 20 ]; then good; else bad 'reward: timing.jsonl'; fi
case $(tail -n 1 reward/timing.jsonl) in
    '{"step":20,"train_runtime":'*',"cpu_seconds":'*',"peak_rss_bytes":'*) good ;;
    *) bad "reward: timing.jsonl ends with $(tail -n 1 reward/timing.jsonl)" ;;
esac
case $(cat "$err") in
    *'reward: operations: '*' predicted, '*' counted (reward 100 %)'*'reward: memory: '*'reward: time: '*)
        good ;;
    *) bad "reward: its cost: $(tail -n 3 "$err")" ;;
esac
cost_of sft
cost_of reward
says 'reward: its table' '*held-out*politeness*safety*'
small="--model sft/final --dataset prompts.jsonl --max-completion-length 16 --num-generations 4 \
--per-device-train-batch-size 8 --learning-rate 1e-3 --beta 0.05"
train="$small --reward-model reward/final --max-steps 6"
works train "$grpo" train $train --output-dir run --save-steps 3
says train 'run/final: 6 steps, reward*weights*'
works 'train again' "$grpo" train $train --output-dir again --save-steps 0 --json
says 'train --json' '{"steps":6,*"sha256":"*'
same_run 'the same run twice' run again
same 'the same log twice' run/log.jsonl again/log.jsonl
cost_of run
works sample "$grpo" sample --model run/final --dataset questions.jsonl --reference sft/final \
    --max-completion-length 16 --output samples.jsonl
works 'sample one by one' "$grpo" sample --model run/final --dataset questions.jsonl --reference sft/final \
    --max-completion-length 16 --batch 1
same 'sample: the batch changes nothing' "$out" samples.jsonl
works score "$grpo" score --dataset samples.jsonl --reward-model reward/final --summary
says 'score --summary' '*politeness*n 22*reward*'
works score "$grpo" score --dataset samples.jsonl --reward-model reward/final
says score '*"scores":{"politeness":*"reward":*'
many=$(printf '%0200d' 0 | sed 's/0/fix the car /g')
printf '{"prompt": "hi", "completion": "%s"}\n' "$many" > long.jsonl
works 'score of a reply longer than the context' "$grpo" score --dataset long.jsonl \
    --reward-model reward/final
case $(cat "$err") in
    *'context holds 112: such replies are read up to there'*) good ;;
    *) bad "score of a long reply: $(cat "$err")" ;;
esac
printf 'hi, how do i fix the car?\n\n' > question
if "$grpo" chat --model run/final --max-completion-length 8 < question > "$out" 2> "$err"; then good
else bad "chat: $(cat "$err")"; fi
case $(cat "$err") in
    *'/quit, an empty line or Ctrl-D ends'*) good ;;
    *) bad "chat: how to leave it: $(cat "$err")" ;;
esac
printf 'hi, how do i fix the car?\n/quit\nhi\n' |
    "$grpo" chat --model run/final --max-completion-length 8 > quit 2> "$err"
same 'chat: /quit ends as an empty line does' "$out" quit
# a typed end of turn is that token, as in transformers, or text
printf '{"prompt": "hi <end><bot> yes"}\n' > typed.jsonl
for text in questions typed; do
    for split in false true; do
        works "sample --split-special-tokens $split" "$grpo" sample --model run/final --dataset $text.jsonl \
            --temperature 0 --max-completion-length 8 --split-special-tokens $split \
            --output $text-$split.jsonl
    done
done
same 'sample: no special token to split' questions-false.jsonl questions-true.jsonl
if cmp -s typed-false.jsonl typed-true.jsonl; then bad 'sample: a typed <end> is the same split and whole'
else good; fi
# E22, E32: the loss of the first step is the mean of -logp of the completion's tokens, as `sample` reports
# it; learned by heart, it is what is said
printf '{"prompt": "how do i fix the car?", "completion": "first, look at the car."}\n' > heart.jsonl
works 'sft of one pair' "$grpo" sft --model base --dataset heart.jsonl --output-dir heart --max-steps 60 \
    --per-device-train-batch-size 1 --learning-rate 1e-2 --lr-scheduler-type constant
works 'sample of what was learned' "$grpo" sample --model heart/final --dataset heart.jsonl --temperature 0 \
    --max-completion-length 32
says 'learned by heart' '*"completion":"first, look at the car."*"finish_reason":"stop"*'
# ---- the table of `make demo` -----------------------------------------------------------------------
for which in sft run; do
    works "judged: $which" "$grpo" sample --model $which/final --reference sft/final \
        --dataset questions.jsonl --max-completion-length 16
    $world judge < "$out" > judged.jsonl
    works "scored: $which" "$grpo" score --dataset judged.jsonl --reward-model reward/final \
        --output $which.scored
done
sha=$("$grpo" info --model run/final | sed -n 's/^  weights //p')
demo="$table table sft.scored run.scored --sha256 $sha --seconds 61 --seed 98"
works 'demo_table: nothing published' $demo --published nowhere.sha256 --result result.json
says 'demo_table: rows and verdict' "*Scores by the world's judge*benign *adversarial *unseen_template \
*Scores by the reward model*Verdict*Three replies*weights after GRPO: SHA-256 $sha"
if grep -q "\"sha256\": *\"$sha\"" result.json && grep -q '"seconds": *61' result.json &&
    grep -q '"n": *4$' result.json; then good
else bad "demo_table: result.json: $(cat result.json)"; fi
printf '%s  demo\n' "$sha" > published.sha256
works 'demo_table: the published bits' $demo --published published.sha256
says 'demo_table: the published bits' '*
published:          the same bits'
printf '0123abcd  demo\n' > published.sha256
works 'demo_table: other bits' $demo --published published.sha256
says 'demo_table: other bits' '*
published:          SHA-256 0123abcd: NOT the same'
{ sed 1d run.scored; head -n 1 run.scored; } > turned.scored
refuses '*turned.scored:1: another prompt than in sft.scored*' $table table sft.scored turned.scored
refuses '*samples.jsonl:1:1: refusal: found nothing, expected a number*' $table table sft.scored samples.jsonl
head -n 3 run.scored > short.scored
refuses '*sft.scored has 22 replies, short.scored 3: expected the same prompts*' \
    $table table sft.scored short.scored
refuses '*nowhere*' $table table sft.scored nowhere.scored
# a policy against itself: no difference, whatever the row
works 'demo_table: against itself' $table table sft.scored sft.scored
if grep -q '^benign *\([.0-9]*\) > \1 ' "$out" && grep -q 'all four rose on: no row' "$out"; then good
else bad "demo_table: against itself: $(head -n 5 "$out")"; fi

# ---- generation_config.json: what sample and chat draw with ---------------------------------------
rm -rf drawn && cp -R heart/final drawn
eos=$(grep -o '"eos_token_id": [0-9]*' heart/final/generation_config.json)
draws() { printf '{%s, %s}\n' "$eos" "$1" > drawn/generation_config.json; }        # SETTINGS
# as_asked NAME SETTINGS OPTIONS: the file and the same options draw the same
as_asked() {
    name=$1 settings=$2; shift 2
    draws "$settings"
    works "$name: the file" "$grpo" sample --model drawn --dataset questions.jsonl --num-generations 2 \
        --max-completion-length 12
    cp "$out" a; cp "$err" said
    works "$name: options" "$grpo" sample --model heart/final --dataset questions.jsonl --num-generations 2 \
        --max-completion-length 12 "$@"
    same "$name" a "$out"
}
as_asked 'greedy by do_sample' '"do_sample": false, "temperature": 0.3, "top_k": 2' --temperature 0
cp a greedy
as_asked "transformers' defaults where the file says how to draw" '"temperature": 0.7' --do-sample false
as_asked 'top_k is 50 then' '"do_sample": true' --top-k 50
as_asked 'all filters' '"do_sample": true, "temperature": 0.7, "top_k": 7, "top_p": 0.9, "min_p": 0.05' \
    --temperature 0.7 --top-k 7 --top-p 0.9 --min-p 0.05
case $(cat said) in
    'sample: temperature 0.7, top_k 7, top_p 0.9, min_p 0.05, at most 12 tokens; '\
'drawn/generation_config.json says: do_sample, temperature, top_k, top_p, min_p'*) good ;;
    *) bad "what the file decided: $(cat said)" ;;
esac
as_asked 'repetition penalty' '"do_sample": false, "repetition_penalty": 1.8' --temperature 0 \
    --repetition-penalty 1.8
if cmp -s a greedy; then bad 'the repetition penalty changes nothing'; else good; fi
as_asked 'no say on drawing: the policy itself' '"bos_token_id": 1, "transformers_version": "5.0.0", '\
'"max_length": 90, "num_beams": 1, "top_k": null' --temperature 1 --top-k 0
case $(cat said) in sample:*) bad "a file without settings: $(cat said)" ;; *) good ;; esac
draws '"do_sample": false, "temperature": 0.3, "top_p": 0.5, "repetition_penalty": 3, "max_new_tokens": 5, '\
'"no_repeat_ngram_size": 2, "banana": 1, "typical_p": 1.0'
works 'options win over the file' "$grpo" sample --model drawn --dataset questions.jsonl --temperature 0.7 \
    --top-k 0 --repetition-penalty 1
cp "$out" a
case $(cat "$err") in
    *'at most 5 tokens; '*'says: top_p, max_new_tokens
sample: drawn/generation_config.json: not known here, ignored although it may change what is said: '\
'no_repeat_ngram_size, banana
'*) good ;;
    *) bad "what is ignored: $(cat "$err")" ;;
esac
works 'options win: the same by options' "$grpo" sample --model heart/final --dataset questions.jsonl \
    --temperature 0.7 --top-p 0.5 --max-completion-length 5
same 'options win over the file' a "$out"
printf '{"sample": {"temperature": 0.7, "top_k": 0, "repetition_penalty": 1}}\n' > drawing.json
works '--config wins over the file' "$grpo" sample --model drawn --dataset questions.jsonl \
    --config drawing.json
same '--config wins over the file' a "$out"
"$grpo" chat --model drawn < question > a 2> "$err"
"$grpo" chat --model heart/final --temperature 0 --repetition-penalty 3 --max-completion-length 5 \
    < question > b 2> said
same 'chat draws as the file says' a b
case $(cat "$err") in
    'chat: greedy, repetition_penalty 3, at most 5 tokens; '*) good ;;
    *) bad "chat: what the file decided: $(cat "$err")" ;;
esac
# kl is of the distributions themselves: against itself it is 0 whatever shaped the draws
works 'kl under a penalty' "$grpo" sample --model drawn --reference heart/final --dataset questions.jsonl \
    --temperature 1.3 --repetition-penalty 1.5
if [ "$(grep -c '"kl":0}' "$out")" -eq "$(wc -l < questions.jsonl)" ]; then good
else bad "kl of a model to itself: $(grep -o '"kl":.*' "$out" | head -n 2)"; fi
works 'training takes nothing of it' "$grpo" train $train --model drawn --output-dir untouched
works 'training takes nothing of it: without' "$grpo" train $train --model heart/final \
    --output-dir untouched-too
same_run 'training takes nothing of it' untouched untouched-too
if grep -q '"no_repeat_ngram_size": 2' untouched/final/generation_config.json &&
    grep -q "$eos" untouched/final/generation_config.json; then good
else bad "final/generation_config.json: $(cat untouched/final/generation_config.json)"; fi
# wrong VALUE PATTERN
wrong() {
    draws "$1"
    refuses "*drawn/generation_config.json:1:*: $2" "$grpo" sample --model drawn --dataset questions.jsonl
}
wrong '"do_sample": 1' 'do_sample: found number, expected true or false'
wrong '"temperature": -1' 'temperature: found -1, expected 0 (greedy) or more'
wrong '"temperature": "hot"' 'temperature: found string, expected 0 (greedy) or more'
wrong '"top_k": 2.5' 'top_k: found 2.5, expected 0 (off) or a whole number above'
wrong '"top_p": 0' 'top_p: found 0, expected more than 0 and at most 1 (off)'
wrong '"top_p": 1.5' 'top_p: found 1.5, *'
wrong '"min_p": 2' 'min_p: found 2, expected 0 (off) to 1'
wrong '"repetition_penalty": 0' 'repetition_penalty: found 0, expected more than 0 (1: off)'
wrong '"max_new_tokens": 0' 'max_new_tokens: found 0, expected a whole number from 1 on'
wrong '"max_new_tokens": [3]' 'max_new_tokens: found array, *'
for option in '--temperature -1' '--top-k 1.5' '--top-p 0' '--min-p 2' '--repetition-penalty 0' \
    '--max-completion-length 0'
do
    refuses "*${option% *}: found ${option#* }, expected *" \
        "$grpo" sample --model heart/final --dataset questions.jsonl $option
done
# a line of any length is one turn
awk 'BEGIN { while (n++ < 8300) printf "x"; print "\n" }' > question
if "$grpo" chat --model run/final --max-completion-length 8 < question > "$out" 2> "$err"; then
    bad 'chat: a line of 8300 tokens'
else good; fi
case $(cat "$err") in
    *'conversation:1: prompt of 83'??' tokens'*) good ;;
    *) bad "chat: a line of 8300 bytes: $(cat "$err")" ;;
esac
printf 'hi\0you\n' > question
if "$grpo" chat --model run/final < question > "$out" 2> "$err"; then bad 'chat: NUL'; else good; fi
case $(cat "$err") in *'standard input: byte 3 is NUL'*) good ;; *) bad "chat: NUL: $(cat "$err")" ;; esac

works 'info: operations' "$grpo" info --model run/final --prompts 2 --num-generations 4 --prompt-length 10 \
    --completion-length 10 --json
# E190, E192: 2 x 2560 weights, 2 (10 + 4 x 9) rows that see 2 (55 + 4 (90 + 45)) positions of 2 heads of 8
# numbers in 2 layers, logits of 2 (1 + 4 x 9) rows:
# 942080 + 152320 + 994560 forward; backward twice, 2.5 times, twice that
says 'info: operations' '*"generation_flops": 2088960,*"training_flops": 6343040*'
# what info says of a run is what the run says of itself: all of it where the lengths are those of the data
plan_of() { sed -n 's/.*"predicted":\(.*\),"memory":.*/\1/p' "$out"; }
log_of() { sed -n '$s/.*"predicted":\(.*\),"memory":.*"measured".*/\1/p' "$1/log.jsonl"; }
works 'info --run sft' "$grpo" info --run sft --json --model base --dataset sft.jsonl --max-steps 20 \
    --per-device-train-batch-size 16
says 'info --run sft' '{"command":"sft","steps":20,*"completion_length":null,'\
'"completion_length_from":"data","predicted":{"flops":{"policy":*'
if [ "$(plan_of)" = "$(log_of sft)" ] && [ -n "$(plan_of)" ]; then good
else bad "info --run sft: $(plan_of), the run: $(log_of sft)"; fi
works 'info --run sft, three epochs' "$grpo" info --run sft --json --model base --dataset heart.jsonl \
    --max-steps 60 --per-device-train-batch-size 1
if [ "$(plan_of)" = "$(log_of heart)" ] && [ -n "$(plan_of)" ]; then good
else bad "info --run sft: $(plan_of), the run: $(log_of heart)"; fi
works 'info --run reward' "$grpo" info --run reward --json --model sft/final --dataset labelled.jsonl \
    --max-steps 20 --per-device-train-batch-size 8 --eval-split 0.2
if [ "$(plan_of)" = "$(log_of reward)" ] && [ -n "$(plan_of)" ]; then good
else bad "info --run reward: $(plan_of), the run: $(log_of reward)"; fi
# completions of one token take no row, but every one of them is drawn from its prompt's last row;
# micro-batches of 6 cut groups of 4
printf '{"prompt": "how do i fix the car?"}\n' > alike.jsonl
short="--model sft/final --dataset alike.jsonl --max-completion-length 1 --num-generations 4 \
--per-device-train-batch-size 6 --gradient-accumulation-steps 2 --reward-model reward/final --beta 0.05 \
--max-steps 3"
works 'train on one prompt' "$grpo" train $short --output-dir alike
works 'info --run train' "$grpo" info --run train --json $short
says 'info --run train' '*"completion_length":1,"completion_length_from":"maximum",*'
# a reward model reads the text, which may have other tokens
policy_of() { sed 's/"reward":{[^}]*}/"reward":{}/g; s/"total_flops":[0-9.e+]*/"total_flops":0/'; }
if [ "$(plan_of | policy_of)" = "$(log_of alike | policy_of)" ] && [ -n "$(plan_of)" ]; then good
else bad "info --run train: $(plan_of), the run: $(log_of alike)"; fi
works 'info --run train, a mean length' "$grpo" info --run train --mean-completion-length 9.5 $train
says 'info --run train, a mean length' '*train: 6 updates*weights *cache *reference *reward *'\
'lengths: completions of 9.5 tokens, the mean that was given*456 of completions*'\
'operations: *policy *reference *reward *'
# the memory that info names is what the run names, whatever the lengths of the short steps that are timed
long="$train --max-completion-length 60 --per-device-train-batch-size 16"
works 'train, long completions' "$grpo" train $long --max-steps 1 --output-dir lengthy
said=$(sed -n 's/^grpo: needs \(.*\) of memory of .*/\1/p' "$err")
works 'info --run train, long completions' "$grpo" info --run train $long --max-steps 1
says "info --run train: memory as the run says, $said" "*memory: $said at most*"
# a generation and its updates that would take hours to time: in parts; the memory is that of the same with
# one pass
memory_of() { sed 's/.*"memory_bytes":\([0-9]*\),.*\("memory":{[^}]*}\).*/\1 \2/' "$out"; }
works 'info --run train, one pass' "$grpo" info --run train --json $train
a=$(memory_of)
works 'info --run train, a million passes' "$grpo" info --run train --json $train \
    --num-iterations 1000000
says 'info --run train, a million passes' \
    '*"seconds_from":"parts of a step were timed on this machine, the rest is counted (E199)",*'
if [ "$a" = "$(memory_of)" ]; then good
else bad "info --run train, timed in parts: memory $(memory_of), expected $a"; fi
if sed 's/.*"step_seconds":\([-0-9.e]*\),.*/\1/' "$out" | awk '{ exit !($1 > 1e-5 && $1 < 10) }'; then good
else bad "info --run train, timed in parts: $(cat "$out")"; fi
# what was measured with the model nearest in size, and what is far from it; sizes and rates beside
# cmd/advice.c
works 'info --run train: advice' "$grpo" info --run train $train --learning-rate 1e-6 --beta 0
says 'info --run train: advice' '*
  advice: with 0.25 M parameters (yours: 0.0119 M, 1/21 of that), rate 0.0006 and beta 0.08 moved the '\
'scores in 220 updates of 128 completions (configs/demo.json)
  advice: yours: rate 1e-06, 1/600 of that; beta 0; updates 6, 1/37 of that: '\
'expect nothing to be seen in 6 updates'
works 'info --run train: no advice' "$grpo" info --run train $train --max-steps 120
says 'info --run train: no advice' '*
  advice: your settings are within a factor of 2: with 0.25 M parameters (*), rate 0.0006 and beta 0.08 '\
'moved the scores in 220 updates of 128 completions (configs/demo.json)'
# no rate of an adapter was measured at this size: nothing is said of it
works 'info --run train: advice for an adapter' "$grpo" info --run train $train --use-peft \
    --learning-rate 1e-6 --max-steps 500 --json
says 'info --run train: advice for an adapter' '*,"advice":{"parameters":250000,"your_parameters":11920,'\
'"learning_rate":null,"beta":0.08,"steps":220,"completions":128,"measured_in":"configs/demo.json",'\
'"text":\["with 0.25 M parameters (yours: 0.0119 M, 1/21 of that), beta 0.08 moved the scores in 220 '\
'updates of 128 completions (configs/demo.json)","yours: updates 500, 2.3 times that"\]}}'
works 'info --run ppo: no advice' "$grpo" info --run ppo --model sft/final --dataset prompts.jsonl \
    --reward-model reward/final --max-completion-length 4 --per-device-train-batch-size 4 --max-steps 4
case $(cat "$out") in *advice*) bad "info --run ppo: $(cat "$out")" ;; *) good ;; esac
# the nearest by ratio: 6 M parameters are 24 times 0.25 M and a 22nd of 135 M; yours is 1/50 of its rate
works 'init of 6 M parameters' "$grpo" init --tokenizer-data sft.jsonl --output-dir middle \
    --hidden-size 256 --num-hidden-layers 8 --num-attention-heads 4 --intermediate-size 640 --vocab-size 420
works 'info --run train: advice for 6 M parameters' "$grpo" info --run train $train --model middle \
    --learning-rate 1e-6 --beta 0.05 --max-completion-length 2
says 'info --run train: advice for 6 M parameters' '*
  advice: with 135 M parameters (*), rate 5e-05 and beta 0.05 moved the scores *
  advice: yours: rate 1e-06, 1/50 of that; updates 6, 1/6.7 of that: expect nothing to be seen in 6 updates'
works 'info --run train: advice for an adapter of 6 M parameters' "$grpo" info --run train $train \
    --model middle --use-peft --learning-rate 5e-5 --beta 0.05 --max-completion-length 2
says 'info --run train: advice for an adapter of 6 M parameters' \
    '*rate 0.0005 of an adapter and beta 0.05 moved the scores *
  advice: yours: rate 5e-05, 1/10 of that; updates 6, 1/6.7 of that: expect nothing to be seen in 6 updates'
refuses '*--mean-completion-length: found "none"*' \
    "$grpo" info --run train $train --mean-completion-length none
refuses '*--mean-completion-length: the lengths of sft are those of its data*' \
    "$grpo" info --run sft --mean-completion-length 9 --model base --dataset sft.jsonl
refuses '*--run: found "trane", expected sft, reward, em, train, ppo, aihf or dpo*' "$grpo" info --run trane
works info "$grpo" info --model run/final
says info '*Llama, language model*weights *'
works eval "$grpo" eval --policies sft/final,run/final --dataset questions.jsonl \
    --reward-model reward/final --group-by split --max-completion-length 16
says 'eval: rows' '*adversarial *unseen_template *all *run/final minus sft/final*'
works 'eval of one policy twice' "$grpo" eval --policies sft/final,sft/final --dataset questions.jsonl \
    --reward-model reward/final --max-completion-length 16 --num-generations 2 --json
says 'eval: a policy against itself' '*"minus_first": *"reward": {*"mean": 0,*"half_width_95": 0,*'
works 'train --eval-split' "$grpo" train $train --output-dir split --eval-split 0.1
says 'train --eval-split' '*before and after*split/final minus sft/final*'
works 'eval on the held-out prompts' "$grpo" eval --policies sft/final,split/final \
    --dataset split/eval_prompts.jsonl --reward-model reward/final --num-generations 4 \
    --max-completion-length 16 --json
sed -n '/"policies"/,$p' "$out" > a; sed -n '/"policies"/,$p' split/eval.json > b
same 'eval gives the table that the run ended with' a b
works 'a recipe' "$grpo" train --config run/config.json --output-dir by-config
same_run "a run's config.json gives the run again" run by-config
# E193: a decoded token reads 2 layers of 2560 numbers and a head of 420 times 16; 8 of them, after a prompt
# of 8, read 100 positions of 64 numbers
works bench "$grpo" bench --model base --works decode_one --prompt-length 8 --completion-length 9 \
    --repeats 1 --json
if sed 's/.*"decode_one":{//; s/[",:]/ /g' "$out" | awk '{
        for (i = 1; i < NF; i++)
            if ($i == "seconds") s = $(i + 1); else if ($i == "gigabytes_per_second") g = $(i + 1)
        x = s * g * 1e9 - 404480 }
    END { exit !(x < 1 && x > -1) }'; then good
else bad "bench: bytes read: $(cat "$out")"; fi
for command in init sft reward train trace sample chat score eval compare bench merge info; do
    works "$command --help" "$grpo" $command --help
    says "$command --help" "grpo $command: *example: grpo $command *"
done

# ---- adapters ----------------------------------------------------------------------------------
adapt="--use-peft --lora-r 4 --lora-alpha 8 --lora-target-modules all-linear"
base_bits=$("$grpo" info --model sft/final | sed -n 's/^  weights //p')
works 'sft of an adapter' "$grpo" sft --model base --dataset sft.jsonl --output-dir lora-sft --max-steps 8 \
    --per-device-train-batch-size 8 --learning-rate 5e-3 $adapt
works 'reward of an adapter' "$grpo" reward --model sft/final --dataset labelled.jsonl \
    --output-dir lora-reward --max-steps 20 --per-device-train-batch-size 8 --learning-rate 1e-2 \
    --eval-split 0.2 $adapt
works 'train of an adapter' "$grpo" train $train --output-dir lora --save-steps 3 --eval-split 0.1 $adapt
says 'train of an adapter: its table' '*before and after*lora/final minus sft/final*'
cost_of lora-sft
cost_of lora-reward
cost_of lora
case $(head -n 1 lora/log.jsonl) in
    *'"kl":0,'*) good ;;
    *) bad "an adapter starts as its base: $(head -n 1 lora/log.jsonl)" ;;
esac
if [ -e lora/final/adapter_model.safetensors ] && [ ! -e lora/final/model.safetensors ] &&
    [ "$(wc -c < lora/checkpoint.safetensors)" -lt "$(wc -c < sft/final/model.safetensors)" ]; then good
else bad "an adapter's folder holds $(ls lora/final)"; fi
if [ "$("$grpo" info --model sft/final | sed -n 's/^  weights //p')" = "$base_bits" ]; then good
else bad 'the base has changed'; fi
printf '{"lora_target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", '\
'"down_proj"], "use_peft": true, "lora_r": 4, "lora_alpha": 8}\n' > lora.json
works 'an adapter by a config file' "$grpo" train $train --output-dir lora-config --save-steps 0 \
    --eval-split 0.1 --config lora.json
same_run 'a list in a config file' lora lora-config
"$grpo" sft --model base --dataset sft.jsonl --output-dir lora-dead --max-steps 100 --save-steps 5 $adapt \
    > "$out" 2> "$err" & victim=$!
works 'sft of an adapter, 100 steps' "$grpo" sft --model base --dataset sft.jsonl --output-dir lora-whole \
    --max-steps 100 --save-steps 0 $adapt
kill -9 $victim 2> /dev/null; wait $victim 2> /dev/null
works 'sft of an adapter, --resume' "$grpo" sft --model base --dataset sft.jsonl --output-dir lora-dead \
    --max-steps 100 --save-steps 5 $adapt --resume
same_run 'an adapter: kill -9 and --resume' lora-whole lora-dead
refuses '*lora_r: the run was started with 4, now it is 5*' "$grpo" sft --model base --dataset sft.jsonl \
    --output-dir lora-dead --max-steps 100 --save-steps 5 $adapt --lora-r 5 --resume
works 'info of an adapter' "$grpo" info --model lora/final
says 'info of an adapter' '*adapter of rank 4, alpha 8, beside '\
'q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj of sft/final*'
works 'info with an adapter to come' "$grpo" info --model sft/final --use-peft
says 'info with an adapter to come' \
    '*adapter of rank 16, alpha 32, beside q_proj,v_proj of sft/final: 2048 parameters are trained*'
works merge "$grpo" merge --model lora/final --output-dir merged
says merge 'merged: sft/final with the adapter lora/final'
works 'sample from an adapter' "$grpo" sample --model lora/final --dataset questions.jsonl \
    --max-completion-length 16 --output lora-samples.jsonl
works 'sample from a merged model' "$grpo" sample --model merged --dataset questions.jsonl \
    --max-completion-length 16 --output merged-samples.jsonl
works 'score by an adapter' "$grpo" score --dataset lora-samples.jsonl --reward-model lora-reward/final \
    --summary
says 'score by an adapter' '*politeness*n 22*reward*'
works 'train: adapter of an adapter goes on, by an adapter' "$grpo" train --model lora-sft/final \
    --dataset prompts.jsonl --max-completion-length 16 --num-generations 4 --per-device-train-batch-size 8 \
    --beta 0.1 --reward-model lora-reward/final --max-steps 2 --output-dir lora-on
case $(head -n 1 lora-on/log.jsonl) in
    *'"kl":0,'*) good ;;
    *) bad "the reference is the adapter that the run starts from: $(head -n 1 lora-on/log.jsonl)" ;;
esac
works 'an adapter beside a base in bf16' "$grpo" train $train --output-dir lora-bf16 $adapt --base-dtype bf16
refuses '*--base-dtype bf16: all weights of sft/final are trained*' \
    "$grpo" train $train --output-dir x --base-dtype bf16
works 'trace of an adapter' "$grpo" trace $train $adapt --tokens 2
works 'eval of an adapter against its base' "$grpo" eval --policies sft/final,lora/final \
    --dataset questions.jsonl --reward-model lora-reward/final --max-completion-length 16
rm lora-on/final/tokenizer*
works 'an adapter without a tokenizer takes its base'"'"'s' \
    "$grpo" sample --model lora-on/final --dataset questions.jsonl --max-completion-length 4
refuses '*lora-sft/final: is an adapter already, of rank 4; leave --use-peft out*' \
    "$grpo" sft --model lora-sft/final --dataset sft.jsonl --output-dir x --use-peft
refuses '*have no effect without --use-peft*' \
    "$grpo" sft --model base --dataset sft.jsonl --output-dir x --lora-r 4
refuses '*--lora-dropout: found 0.05, expected 0*' \
    "$grpo" sft --model base --dataset sft.jsonl --output-dir x --use-peft --lora-dropout 0.05
refuses '*rank r: found 0*' "$grpo" sft --model base --dataset sft.jsonl --output-dir x --use-peft --lora-r 0
refuses '*--lora-target-modules: target module "qproj", did you mean q_proj*' \
    "$grpo" train $train --output-dir x --use-peft --lora-target-modules qproj,v_proj
refuses '*sft/final: has no adapter_config.json: it is no adapter*' \
    "$grpo" merge --model sft/final --output-dir x
refuses '*merged: is not empty*' "$grpo" merge --model lora/final --output-dir merged
damaged lora/final wrong-base
sed 's|"sft/final"|"elsewhere"|' lora/final/adapter_config.json > wrong-base/adapter_config.json
refuses '*there is no folder "elsewhere"*' "$grpo" sample --model wrong-base --dataset questions.jsonl
damaged base with-dropout
sed 's|"attention_dropout": 0|"attention_dropout": 0.1|' base/config.json > with-dropout/config.json
works 'dropout is nothing to who only samples' \
    "$grpo" sample --model with-dropout --dataset questions.jsonl --max-completion-length 4
refuses '*with-dropout: config.json has attention_dropout 0.1*write 0*' \
    "$grpo" sft --model with-dropout --dataset sft.jsonl --output-dir x

# ---- the examples of --help, one after the other, in an empty folder -------------------------------
mkdir examples && cd examples || exit 2
$world sft --n 200 --seed 5 > pairs.jsonl
$world grammar --n 40 --seed 105 > labelled.jsonl
$world prompts --kind rl --n 6 --seed 1005 > prompts.jsonl
$world eval --n 2 --seed 99 > eval.jsonl
grpo() { "$grpo" "$@"; }
# example COMMAND [MORE OPTIONS]
example_of() {
    line=$(grpo "$1" --help | sed -n 's/^example: //p')
    case $line in
        "grpo $1 "*) works "the example of $1 --help" eval "$line ${2-}" ;;
        *) bad "$1 --help: no example: $line" ;;
    esac
}
for command in init sft reward train; do example_of $command; done
example_of train '--output-dir runs/grpo-again'
for command in ppo pairs dpo; do example_of $command; done
example_of train '--output-dir runs/lora --use-peft --max-steps 1'
ln -s base models/SmolLM2-135M-Instruct
for command in trace sample chat score eval compare merge bench info; do example_of $command; done
if [ -s samples.jsonl ]; then good; else bad 'the example of sample wrote nothing'; fi
works 'the example of compute --help' eval "$(grpo compute --help | sed -n 's/^ *\(echo .*\)/\1/p')"
says 'the example of compute --help' '{"outputs":{"advantages":\[0.75,-0.75,0\]}}'
cd .. || exit 2

# what a program would read
works 'info --json' "$grpo" info --model reward/final --json
says 'info --json' \
    '{*"architecture": "Llama"*"parameters": *"sha256": "*"template": "plain"*"labels": {*"safety": *'
works 'init --json' "$grpo" init --tokenizer base --model-config base --output-dir copy --json
says 'init --json' '{"model":"copy","parameters":11920,"vocabulary":420}'
works 'score --summary --json' "$grpo" score --dataset samples.jsonl --reward-model reward/final --summary \
    --json
says 'score --summary --json' '{"politeness":{"n":22,"mean":*"reward":{"n":22,*}}'
works 'reward --json' "$grpo" reward --model sft/final --dataset labelled.jsonl --output-dir reward-json \
    --max-steps 2 --json
says 'reward --json' '{"steps":2,"loss":*"final":"reward-json/final","sha256":"*"}'
works 'reward --json with held-out data' "$grpo" reward --model sft/final --dataset labelled.jsonl \
    --output-dir reward-held --max-steps 2 --eval-dataset labelled.jsonl --json
says 'reward --json with held-out data' '{*"held_out":{"politeness":{"n":*"mse":*"spearman":*}}}'
refuses '*--eval-split: found -0.5, expected*' \
    "$grpo" reward --model sft/final --dataset labelled.jsonl --output-dir x --eval-split -0.5
refuses '*--eval-dataset and --eval-split*' "$grpo" reward --model sft/final --dataset labelled.jsonl \
    --output-dir x --eval-split 0.5 --eval-dataset labelled.jsonl
refuses '*num_attention_heads: found 0*' \
    "$grpo" init --tokenizer-data sft.jsonl --output-dir x --num-attention-heads 0
refuses '*num_attention_heads 2 is no multiple of num_key_value_heads 3*' \
    "$grpo" init --tokenizer-data sft.jsonl --output-dir x --num-attention-heads 2 --num-key-value-heads 3

# ---- trace tells what train does, and writes nothing -------------------------------------------
find . | sort > "$t/io/before"
works trace "$grpo" trace $train --tokens 2
says 'trace: text' '*R = sum_k w_k r_k = 1\**(E60)*(E82)*(E83)*'\
'A = (R - mean)/(std + 0.0001) = *(E84)*(E73)*(E112)*(E284)*'
# a page of it by default, which says what it leaves out and how all of it is seen
works 'trace: a page' "$grpo" trace $train --per-device-train-batch-size 32
says 'trace: a page' '*PROMPT 1 of 8*and 7 prompts more (--prompts)*completion 1.4: A = *'\
'and * tokens more (--tokens)*UPDATE*--prompts -1 --completions -1 --tokens -1 *'
if [ "$(wc -l < "$out")" -gt 60 ] && [ "$(wc -l < "$out")" -lt 110 ] &&
    [ "$(grep -c '^PROMPT ' "$out")" -eq 1 ]; then good
else bad "trace: a page: $(wc -l < "$out") lines"; fi
works 'trace: two completions of two prompts' "$grpo" trace $train --prompts 2 --completions 2 --tokens 1
if [ "$(grep -c '^PROMPT ' "$out") $(grep -c '^  completion [12].[12]: A = .* n = ' "$out") \
$(grep -c '^     0 ' "$out") $(grep -c 'and 2 completions more' "$out")" = '2 4 4 2' ]; then good
else bad "trace --prompts 2 --completions 2 --tokens 1: $(cat "$out")"; fi
works 'trace: all' "$grpo" trace $train --prompts -1 --completions -1 --tokens -1
if grep -q ' more (\|leave nothing out' "$out"; then bad 'trace: all: something is left out'; else good; fi
works 'trace --json' "$grpo" trace $train --tokens -1 --update 6 --json
find . | sort > "$t/io/after"
same 'trace writes nothing' "$t/io/before" "$t/io/after"
cp "$out" trace.json
# as a page of HTML: every token of every completion, and no text that becomes markup
printf '{"prompt": "<script>alert(1)</script> \\"fix\\" & <b>"}\n' > markup.jsonl
markup="--model sft/final --dataset markup.jsonl --max-completion-length 8 --num-generations 4 \
--per-device-train-batch-size 4 --max-steps 1 --reward-cmd"
judge='while read -r line; do
    rest=${line#*\"prompt\"}
    echo "{\"scores\": {\"<i>\": $((${#rest} % 3)), \"b\": $((${#rest} % 7))}, \"id\": $i}"
    i=$((i + 1))
done'
works 'trace --html' "$grpo" trace $markup "i=0; $judge" --html page.html
says 'trace --html' 'page.html: update 1 of 1*'
works 'trace of the same' "$grpo" trace $markup "i=0; $judge" --json
tokens=$(grep -o '"completion_length":[0-9]*' "$out" | awk -F : '{ n += $2 } END { print n }')
if [ "$(grep -o '<span class="\(up\|down\)" style="--a:0\.[0-9]*"' page.html | wc -l)" -eq "$tokens" ]; then
    good
else bad "trace --html: expected $tokens coloured tokens"; fi
if grep -q 'alert' page.html && ! grep -q '<script\|<b>\(&\|$\)\|<i>' page.html &&
    grep -q '&lt;script&gt;alert(1)&lt;/script&gt; &quot;fix&quot; &amp; &lt;b&gt;' page.html &&
    grep -q '<th>&lt;i&gt;</th>' page.html; then good
else bad "trace --html: text that became markup: $(grep alert page.html)"; fi
if grep -q 'class="up"' page.html && grep -q 'class="down"' page.html; then good
else bad 'trace --html: one colour only'; fi
refuses '*page.html: exists already; give another --html*' "$grpo" trace $train --html page.html
refuses '*--html, --json*' "$grpo" trace $train --html other.html --json
refuses '*nowhere/page.html: could not be written*' "$grpo" trace $train --html nowhere/page.html
if [ "$(sha_of trace.json)" = "$("$grpo" info --model run/final | sed -n 's/^  weights //p')" ]; then good
else bad 'trace --update 6: its weights are not those of train'; fi
works 'trace of a checkpoint' "$grpo" trace --config run/config.json --max-steps 6 --update 4 --json
cp "$out" fourth.json
loss=$(sed -n '4s/.*"loss":\([^,]*\),.*/\1/p' run/log.jsonl)
case $(cat fourth.json) in
    *"\"update\":{\"loss\":$loss,"*) good ;;
    *) bad "trace --update 4: not the loss of the log, $loss" ;;
esac

# the auditor's pocket calculator (E60, E82 to E120, E284): everything that trace --json tells, computed again
# from what stands before it
cat > auditor.py <<'PYTHON'
import json, math, sys
d = json.load(open(sys.argv[1]))
o, w, checked, clipped = d["options"], d["weights"], 0, 0
def near(what, got, want, tolerance=1e-9):
    global checked
    checked += 1
    if not abs(got - want) <= tolerance * max(1, abs(want)):
        sys.exit("%s: %.17g, expected %.17g" % (what, got, want))
total = 0
for generation in d["generations"]:
    adv = []
    for p in generation["prompts"]:
        c = p["completions"]
        for x in c: near("E60", x["reward"], sum(w[k] * x["scores"][k] for k in w))
        r = [x["reward"] for x in c]
        mean = sum(r) / len(r)
        std = math.sqrt(sum((x - mean) ** 2 for x in r) / (len(r) - 1))
        near("E82", p["reward_mean"], mean); near("E83", p["reward_std"], std)
        for x in c: near("E84", x["advantage"], (x["reward"] - mean) / (std + 1e-4), 1e-7)
        for k in w:
            mk = sum(x["scores"][k] for x in c) / len(c)
            near("E73", p["label_share"][k],
                 w[k] * sum((x["scores"][k] - mk) * (x["reward"] - mean) for x in c)
                 / sum((x - mean) ** 2 for x in r), 1e-7)
        near("shares", sum(p["label_share"].values()), 1, 1e-7)
        adv.append([x["advantage"] for x in c])
    for m in generation["micro_batches"]:
        loss = 0
        for c in m["completions"]:
            a, n = adv[c["prompt"]][c["completion"]], len(c["tokens"])
            near("n", c["n"], n)
            for t in c["tokens"]:
                ratio, gap = math.exp(t["logp"] - t["old"]), t["ref"] - t["logp"]
                inside = ratio <= 1 + o["epsilon"] if a > 0 else ratio >= 1 - o["epsilon"]
                ell = -min(ratio * a, min(max(ratio, 1 - o["epsilon"]), 1 + o["epsilon"]) * a)
                k3 = math.exp(gap) - gap - 1
                near("E91", t["ratio"], ratio); near("E94", t["k3"], k3); near("E99", t["policy_loss"], ell)
                near("E96", t["kl"], k3 * ratio); near("E111", t["loss"], ell + o["beta"] * k3 * ratio)
                near("E112", t["weight"],
                     1 / m["n_item"] * o["steps_per_generation"] / o["gradient_accumulation_steps"])
                near("E100", t["clipped"], not inside)
                near("E113", t["dlogp"],
                     t["weight"] * ((-a * ratio if inside else 0) + o["beta"] * -ratio * gap))
                loss += t["weight"] * t["loss"]
                clipped += t["clipped"]
        near("E112", m["loss"], loss)
        total += loss
u = d["update"]
near("E117", u["loss"], total)
near("E284", u["clip_coefficient"], min(1, o["max_grad_norm"] / (u["grad_norm"] + 1e-6)))
if not clipped: sys.exit("nothing was clipped: the settings of the test are too tame")
print("%d numbers checked" % checked)
PYTHON
works 'trace by the double build' "$grpo64" trace $train --steps-per-generation 2 --num-iterations 2 \
    --learning-rate 1e-2 --update 4 --tokens -1 --json
if python3 -c 'import json' 2> /dev/null; then
    cp "$out" audit.json
    works 'the auditor' python3 auditor.py audit.json
    says 'the auditor' '???* numbers checked'
else
    echo 'SKIPPED: the check of every number that trace tells: there is no python3'
fi

# ---- what must not change a bit ------------------------------------------------------------------
for n in 1 2 3; do
    works "train with $n threads" env OMP_NUM_THREADS=$n "$grpo" train $train --output-dir threads$n
    same_run "$n threads" run threads$n
done
works 'train in slices' "$grpo" train $train --output-dir slices --slice-rows 1
same_run '--slice-rows' run slices
works 'sft in slices' "$grpo" sft --model base --dataset sft.jsonl --output-dir sft-slices --max-steps 20 \
    --per-device-train-batch-size 16 --learning-rate 5e-3 --slice-rows 1
same_run 'sft --slice-rows' sft sft-slices
works 'train with checkpointing' "$grpo" train $train --output-dir checkpointing --gradient-checkpointing
same_run '--gradient-checkpointing' run checkpointing

# killed at any moment: with --resume the same bits as without
long="$small --reward-model reward/final --max-steps 150 --num-iterations 2 --save-steps 4"
works 'train, 150 steps' "$grpo" train $long --output-dir whole
"$grpo" train $long --output-dir killed > "$out" 2> "$err" & victim=$!
while kill -0 $victim 2> /dev/null && [ "$(cat killed/log.jsonl 2> /dev/null | wc -l)" -lt 20 ]; do nap; done
kill -9 $victim 2> /dev/null; wait $victim 2> /dev/null
if [ -d killed/final ]; then bad 'kill -9: the run was over before it was killed'; else good; fi
# a full disk (here: a limit on the size of files): the run ends with a line, the former checkpoint is whole,
# and the run goes on
if [ -f killed/checkpoint.safetensors ]; then good; else bad 'kill -9: there is no checkpoint'; fi
cp killed/checkpoint.safetensors "$t/io/former"
limited() ( trap '' XFSZ; ulimit -f 120; "$grpo" "$@" )
refuses '*killed/checkpoint.safetensors*: could not be written*'\
'the last good checkpoint is killed/checkpoint.safetensors of step *' \
    limited train $long --output-dir killed --resume
same 'the checkpoint before the disk was full' killed/checkpoint.safetensors "$t/io/former"
if [ -e killed/checkpoint.safetensors.tmp ]; then bad 'a half-written checkpoint stays behind'; else good; fi
works 'train --resume, with the options of the run' "$grpo" train --output-dir killed --resume
same_run 'kill -9 and --resume' whole killed
works 'train --resume of a finished run' "$grpo" train $long --output-dir killed --resume
same_run 'resumed when finished' whole killed
cp killed/config.json "$t/io/config"
sed -e '/"loss_type"/d' -e '/"epsilon_high"/d' -e '/"missing_labels"/d' "$t/io/config" > killed/config.json
works 'train --resume of a run from before an option existed' \
    "$grpo" train $long --output-dir killed --resume
printf '{"step":151,"lo' >> killed/log.jsonl
works 'train --resume after half a line' "$grpo" train $long --output-dir killed --resume
same 'a half-written line of the log goes' whole/log.jsonl killed/log.jsonl
"$grpo" sft --model base --dataset sft.jsonl --output-dir sft-killed --max-steps 200 --save-steps 5 \
    > "$out" 2> "$err" & victim=$!
works 'sft, 200 steps' "$grpo" sft --model base --dataset sft.jsonl --output-dir sft-whole --max-steps 200 \
    --save-steps 0
kill -9 $victim 2> /dev/null; wait $victim 2> /dev/null
works 'sft --resume' "$grpo" sft --model base --dataset sft.jsonl --output-dir sft-killed --max-steps 200 \
    --save-steps 5 --resume
same_run 'sft: kill -9 and --resume' sft-whole sft-killed

# ---- compare -------------------------------------------------------------------------------------
works 'a run that differs' "$grpo" train $train --output-dir other --beta 0.06
"$grpo" compare run other > "$out" 2> "$err"; code=$?
if [ $code -eq 1 ]; then good; else bad "compare of runs that differ: exit code $code"; fi
says compare '*beta * 0.05 * 0.06 *first difference: step *final weights: different*not the same bits'
"$grpo" compare run other --json > "$out" 2> "$err"
says 'compare --json' '*"same": false*"first_difference": {*"quantity": *"beta": *'
works 'the double build' "$grpo64" info --model run/final
refuses '*found 1 folder, expected two*' "$grpo" compare run
refuses '*no more than two*' "$grpo" compare run other again
refuses '*nowhere: found no folder*' "$grpo" compare run nowhere
refuses '*base/log.jsonl: could not be read*' "$grpo" compare run base

# ---- usage ---------------------------------------------------------------------------------------
refuses '*unknown command "trian", did you mean train*' "$grpo" trian
refuses '*unknown option "learning_rte", did you mean "learning_rate"*' "$grpo" train $train --learning_rte 1
refuses '*loss_type: found "dappo", expected one of *; did you mean dapo' \
    "$grpo" train $train --output-dir x --loss-type dappo
refuses '*max_steps: found "many", expected a number*' "$grpo" train $train --output-dir x --max-steps many
refuses '*max_steps: found "1.5", expected a whole number*' \
    "$grpo" train $train --output-dir x --max-steps 1.5
refuses '*learning_rate: found "1e-3x", expected a number*' \
    "$grpo" train $train --output-dir x --learning-rate 1e-3x
refuses '*learning_rate: found "none", expected a number*' \
    "$grpo" train $train --output-dir x --learning-rate none
refuses '*resume: found "maybe", expected true or false*' "$grpo" train $train --output-dir x --resume maybe
refuses '*--seed: expected a value*' "$grpo" train $train --output-dir x --seed
refuses '*--output-dir: expected a value*' "$grpo" train $train --output-dir --resume
refuses '*--config: expected the name of a JSON file*' "$grpo" train $train --output-dir x --config
refuses '*missing.json: could not be read*' "$grpo" train $train --output-dir x --config=missing.json
refuses '*nowhere/scores.jsonl*' \
    "$grpo" score --dataset samples.jsonl --reward-model reward/final --output nowhere/scores.jsonl
refuses '*found "run", expected an option*' "$grpo" train run
refuses '*--model: not given*' "$grpo" train --dataset prompts.jsonl --output-dir x
refuses '*--output-dir: not given*' "$grpo" train $train
refuses '*--policies: not given*' "$grpo" eval --dataset prompts.jsonl
refuses '*--group-by*' "$grpo" eval --policies sft/final --dataset questions.jsonl \
    --reward-model reward/final --group-by spilt --max-completion-length 16
refuses '*the run is over*' "$grpo" trace --config run/config.json --resume
refuses '*--update: found 9, expected 1 to 6*' "$grpo" trace $train --update 9
printf '{"learning_rate": 1e-3,\n "loss_typ": "dapo"}' > typo.json
refuses '*typo.json:2:*unknown option "loss_typ", did you mean "loss_type"*' \
    "$grpo" train $train --output-dir x --config typo.json
printf '{"learning_rate": 1e-3,\n "max_steps": 3,}' > broken.json
refuses '*broken.json:2:*' "$grpo" train $train --output-dir x --config broken.json
printf 'learning_rate: 1e-3\nmax_steps: 3\n' > recipe.yaml
refuses '*recipe.yaml:1:1: *' "$grpo" train $train --output-dir x --config recipe.yaml
# what TRL's configurations hold beside our options: without effect, with the one value that is computed here,
# or refused by name
printf '{"max_steps": 2, "bf16": true, "report_to": ["none"], "hub_token": null, "vllm_mode": "colocate", '\
'"optim": "adamw_torch", "repetition_penalty": 1.0, "sync_ref_model": false,
 "reward_weights": [0.4, 0.3, 0.2, 0.1], "generation_batch_size": 16, "per_device_train_batch_size": 8, '\
'"learning_rate": 7e-4}' > trl.json
works 'a configuration of TRL' "$grpo" train --model sft/final --dataset prompts.jsonl \
    --reward-model reward/final --max-completion-length 16 --num-generations 4 --output-dir trl \
    --config trl.json --learning-rate 8e-4
if [ "$(grep -c 'accepted without effect: bf16, vllm_mode$' "$err")" -eq 1 ]; then good
else bad "accepted without effect: $(head -n 2 "$err")"; fi
case $(cat trl/config.json) in
    *'"learning_rate": 0.0008,'*'"reward_weights": "0.4,0.3,0.2,0.1"'*'"generation_batch_size": 16'*) good ;;
    *) bad "default < --config < command line: $(cat trl/config.json)" ;;
esac
if [ "$(grep -c '"loss"' trl/log.jsonl)" -eq 2 ]; then good; else bad 'max_steps of --config'; fi
# steps below 1 are a share of all, rounded up, as in transformers
works 'steps as numbers' "$grpo" sft --model base --dataset sft.jsonl --max-steps 7 --warmup-steps 2 \
    --logging-steps 3 --save-steps 3 --output-dir in-numbers
printf '{"warmup_steps": 0.2, "logging_steps": 0.4, "save_steps": 0.4, "eval_steps": null}' > shares.json
works 'steps as shares' "$grpo" sft --model base --dataset sft.jsonl --max-steps 7 --config shares.json \
    --output-dir in-shares
same_run 'steps as numbers and as shares' in-numbers in-shares
if [ "$(grep -c '"loss"' in-shares/log.jsonl)" -eq 2 ]; then good
else bad "logging_steps 0.4 of 7: $(cat in-shares/log.jsonl)"; fi
refuses '*warmup_steps: found 2.5, expected a whole number of steps, or a share of all below 1' \
    "$grpo" sft --model base --dataset sft.jsonl --output-dir x --warmup-steps 2.5
# what was a switch once
for scale in 'true group' 'false none'; do
    rm -rf scaled
    works "scale_rewards ${scale% *}" "$grpo" train $train --output-dir scaled --max-steps 1 \
        --scale-rewards "${scale% *}"
    if grep -q "\"scale_rewards\": \"${scale#* }\"" scaled/config.json; then good
    else bad "scale_rewards $scale"; fi
done
# trl_key JSON PATTERN
trl_key() {
    printf '{"max_steps": 1,\n %s}' "$1" > key.json
    refuses "*key.json:2:*$2" "$grpo" train $train --output-dir x --config key.json
}
trl_key '"repetition_penalty": 1.1' 'repetition_penalty: found 1.1, expected 1 or null*'
trl_key '"sync_ref_model": true' 'sync_ref_model: found true, expected false or null*'
trl_key '"optim": "adafactor"' 'optim: found adafactor, expected adamw_torch,adamw_torch_fused or null*'
trl_key '"neftune_noise_alpha": 5' 'neftune_noise_alpha: found 5, expected null*'
trl_key '"generation_kwargs": {"top_k": 3}' 'generation_kwargs: found object, expected null*'
trl_key '"learning_rate": [1, 2]' 'learning_rate: found array, expected a single value'
trl_key '"beta": {}' 'beta: found object, expected a single value'
refuses '*generation-batch-size 12: expected per-device-train-batch-size 8 times*' \
    "$grpo" train $train --output-dir x --generation-batch-size 12
refuses '*is of a run of grpo sft; expected one of grpo train*' \
    "$grpo" train $train --output-dir x --config sft/config.json
refuses '*missing.json*' "$grpo" train $train --output-dir x --config missing.json

# ---- settings that cannot work -------------------------------------------------------------------
refuses '*num_generations: found 1, expected at least 2*' \
    "$grpo" train $train --output-dir x --num-generations 1
refuses '*--num-generations 3 does not divide the 8 completions*' \
    "$grpo" train $train --output-dir x --num-generations 3
refuses '*--gradient-accumulation-steps 3*divide the other*' \
    "$grpo" train $train --output-dir x --gradient-accumulation-steps 3 --steps-per-generation 2
refuses '*--max-completion-length 512: the context of sft/final holds 112*' \
    "$grpo" train $train --output-dir x --max-completion-length 512
refuses '*--max-completion-length*' "$grpo" train $train --output-dir x --max-completion-length 2000000000
refuses '*--temperature: found 0*' "$grpo" train $train --output-dir x --temperature 0
refuses '*epsilon: found 2*' "$grpo" train $train --output-dir x --epsilon 2
refuses '*beta: found -1*' "$grpo" train $train --output-dir x --beta -1
refuses '*--per-device-train-batch-size 0*' \
    "$grpo" train $train --output-dir x --per-device-train-batch-size 0
refuses '*--num-train-epochs: found 0*' \
    "$grpo" train $train --output-dir x --max-steps -1 --num-train-epochs 0
refuses '*--slice-rows: found 0*' "$grpo" train $train --output-dir x --slice-rows 0
refuses '*--eval-split: found 1, expected*' "$grpo" train $train --output-dir x --eval-split 1
refuses '*--eval-split 0.001: of 60 rows*' "$grpo" train $train --output-dir x --eval-split 0.001
refuses '*all weights are 0*' "$grpo" train $train --output-dir x --reward-weights safety=0,politeness=0
refuses '*all weights are 0*' "$grpo" train $train --output-dir x --reward-weights 0,0,0,0
refuses '*unknown label "saftey", did you mean safety*' \
    "$grpo" train $train --output-dir x --reward-weights saftey=1
refuses '*label "safety" stands there twice*' \
    "$grpo" train $train --output-dir x --reward-weights safety=1,safety=2
refuses '*found 2 weights, expected 4*' "$grpo" train $train --output-dir x --reward-weights 1,2
refuses '*found more than 4 weights*' "$grpo" train $train --output-dir x --reward-weights 1,2,3,4,5
refuses '*found "much", expected a number*' \
    "$grpo" train $train --output-dir x --reward-weights safety=much
refuses '*--reward-clip: found "1,0", expected LOW,HIGH*' \
    "$grpo" train $train --output-dir x --reward-clip 1,0
refuses '*--reward-clip: found ",1", expected LOW,HIGH*' "$grpo" train $train --output-dir x --reward-clip ,1
refuses '*no source of scores*' "$grpo" train $small --output-dir x
refuses '*no source of scores*' "$grpo" train $small --output-dir x --reward-model ''
refuses "*a folder's name is empty*" "$grpo" train $small --output-dir x --reward-model ,reward/final
refuses '*--model: not given*' "$grpo" train $train --output-dir x --model ''
refuses '*label "politeness" comes from another source too*' \
    "$grpo" train $small --output-dir x --reward-model reward/final,reward/final
refuses '*run: is not empty: it may hold a run*' "$grpo" train $train --output-dir run
refuses '*run: is not empty*' "$grpo" sft --model base --dataset sft.jsonl --output-dir run
refuses '*nothing-here/config.json: not found: there is no run to resume*' \
    "$grpo" train $train --output-dir nothing-here --resume
refuses '*beta: the run was started with 0.05, now it is 0.06*' \
    "$grpo" train $train --output-dir run --resume --beta 0.06
refuses '*samples.jsonl: exists already*' \
    "$grpo" sample --model run/final --dataset questions.jsonl --output samples.jsonl
if [ -e x ]; then bad 'a refused run left its folder behind'; else good; fi

refuses '*the run needs * of memory, but this machine has *; lower *' "$grpo" train $train --output-dir x \
    --per-device-train-batch-size 900000 --num-generations 900000
case $(cat "$err") in
    *': needs '*' of memory of '*) good ;;
    *) bad "the plan is not printed: $(cat "$err")" ;;
esac
refuses '*the run needs * of memory, but this machine has *' \
    "$grpo" sft --model base --dataset sft.jsonl --output-dir x --slice-rows 2000000000
refuses '*the run needs * of memory, but this machine has *' \
    "$grpo" reward --model sft/final --dataset labelled.jsonl --output-dir x --slice-rows 2000000000
works 'a group larger than a slice' "$grpo" train $train --output-dir group --slice-rows 20
case $(cat "$err") in
    *'grpo: slices of '*' rows, more than --slice-rows 20: a prompt ('*' tokens at most) and its 4 '\
'completions (16 each) stay together'*) good ;;
    *) bad "no word about slices: $(cat "$err")" ;;
esac
same_run 'a group larger than a slice' run group

# ---- steps that fail, disks that are full ----------------------------------------------------------
refuses '*step 2: the *: the step is not applied; *'\
'the last good checkpoint is nan/checkpoint.safetensors of step 1: mend the cause, then --resume' \
    "$grpo" train $train --output-dir nan --save-steps 1 --learning-rate 1e20 --max-grad-norm 0
if [ "$(wc -l < nan/log.jsonl)" -eq 1 ]; then good; else bad 'a step that was not applied is logged'; fi
refuses '*the step is not applied*; there is no checkpoint yet*' \
    "$grpo" train $train --output-dir nan0 --learning-rate 1e20 --max-grad-norm 0
refuses '*the step is not applied*the last good checkpoint is nan-sft/checkpoint.safetensors of step 1:*' \
    "$grpo" sft --model base --dataset sft.jsonl --output-dir nan-sft --max-steps 5 --save-steps 1 \
    --learning-rate 1e25 --max-grad-norm 0
refuses '*the step is not applied*the last good checkpoint is nan-reward/checkpoint.safetensors of step 1:*' \
    "$grpo" reward --model sft/final --dataset labelled.jsonl --output-dir nan-reward --max-steps 5 \
    --save-steps 1 --learning-rate 1e25 --max-grad-norm 0
works 'a reward model with absurd weights' "$grpo" reward --model sft/final --dataset labelled.jsonl \
    --output-dir wild --max-steps 1 --learning-rate 1e37
refuses '*score of label politeness is *: the step is not applied; there is no checkpoint yet*' \
    "$grpo" train $small --reward-model wild/final --max-steps 2 --output-dir wild-run
refuses '*score of label politeness is *' "$grpo" score --dataset samples.jsonl --reward-model wild/final

# ---- files that are not what they should be ----------------------------------------------------------
refuses '*missing.jsonl: could not be read*' "$grpo" sft --model base --dataset missing.jsonl --output-dir x
refuses '*run: found a folder, expected a file*' "$grpo" sft --model base --dataset run --output-dir x
if [ "$(id -u)" -ne 0 ]; then
    cp sft.jsonl secret.jsonl; chmod 0 secret.jsonl
    refuses '*secret.jsonl: could not be read*' "$grpo" sft --model base --dataset secret.jsonl --output-dir x
fi
: > empty.jsonl
refuses '*empty.jsonl: holds no examples*' "$grpo" sft --model base --dataset empty.jsonl --output-dir x
# data LINE PATTERN COMMAND: a data set whose second line is LINE
data() {
    { head -n 1 labelled.jsonl; printf '%b\n' "$1"; } > data.jsonl
    pattern=$2; shift 2
    refuses "$pattern" "$@"
}
sft="$grpo sft --model base --dataset data.jsonl --output-dir x --max-steps 1"
reward="$grpo reward --model sft/final --dataset data.jsonl --output-dir x --max-steps 1"
data '{"prompt": "hi", "completion": }' '*data.jsonl:2:32: *' $sft
data '{"prompt": "hi", "completion": "yes"' '*data.jsonl:2:*' $sft
data '{"prompt": "hi", "prompt": "ho", "completion": "yes"}' '*data.jsonl:2:*' $sft
data '["hi"]' '*data.jsonl:2: found array, expected an object*' $sft
data '{"question": "hi", "completion": "yes"}' '*data.jsonl:2: no "prompt"*' $sft
data '{"prompt": "hi"}' '*data.jsonl:2: no "completion"*' $sft
data '{"prompt": "", "completion": "yes"}' '*data.jsonl:2: prompt: is empty*' $sft
data '{"prompt": 7, "completion": "yes"}' '*data.jsonl:2:*' $sft
data '{"prompt": "hi", "completion": ["yes"]}' '*data.jsonl:2:*' $sft
data '{"prompt": "h\0303", "completion": "yes"}' '*data.jsonl:2:*UTF-8*' $sft
data '{"prompt": [{"role": "robot", "content": "hi"}], "completion": "yes"}' \
    '*data.jsonl:2: role: found "robot"*' $sft
data '{"prompt": "hi", "completion": "yes", "labels": {"safety": "high"}}' \
    '*data.jsonl:2: labels: safety: found string, expected a number*' $reward
data '{"prompt": "hi", "completion": "yes", "labels": {"safety": 1e39}}' '*data.jsonl:2: labels: safety: '\
'found 1e+39, expected a number of at most 1e+30 in size; scale these numbers*' $reward
data '{"prompt": "hi", "completion": "yes", "labels": {"safety": NaN}}' '*data.jsonl:2:*' $reward
data '{"prompt": "hi", "completion": "yes", "labels": {"safety": 1e999}}' '*data.jsonl:2:*' $reward
data '{"prompt": "hi", "completion": "yes"}' '*data.jsonl:2: no "labels"*' $reward
data '{"prompt": "hi", "completion": "yes", "labels": [0.5, 1]}' \
    '*data.jsonl:2: labels: found array: expected an object*' $reward
data '{"prompt": "hi", "completion": "yes", "labels": {}}' \
    '*data.jsonl:2: labels: holds none; expected at least one*' $reward
data '{"prompt": [{"role": "user", "content": ""}], "completion": "yes"}' \
    "*data.jsonl:2: content: a user's turn is empty*" $sft
data '{"prompt": [], "completion": "yes"}' '*data.jsonl:2: no "prompt"*' $sft
data '{"prompt": "h\\u0000i", "completion": "yes"}' '*data.jsonl:2:12: prompt: holds a NUL character*' $sft
data '{"prompt": "hi", "completion": "y\\u0000es"}' \
    '*data.jsonl:2:32: completion: holds a NUL character*' $sft
data '{"prompt": "hi", "completion": "yes", "labels": {"saftey": 1}}' \
    '*data.jsonl:2: labels: unknown label "saftey"*' \
    $reward --labels politeness,meaningfulness,actionability,safety
printf 'hello\nh\303i\n' > prompts.txt
refuses '*prompts.txt:2: byte 2 is no valid UTF-8*' "$grpo" sample --model sft/final --dataset prompts.txt
printf '{"prompt": "%s"}\n' "$many" > long.jsonl
refuses '*long.jsonl:1: prompt of * tokens and --max-completion-length 16 exceed the context of 112*' \
    "$grpo" train $small --reward-model reward/final --dataset long.jsonl --output-dir long --max-steps 1
refuses '*long.jsonl:1: prompt of * exceed the context*' \
    "$grpo" sample --model sft/final --dataset long.jsonl --max-completion-length 16
refuses '*long.jsonl:1: prompt of * exceed the context*' "$grpo" eval --policies sft/final \
    --reward-model reward/final --dataset long.jsonl --max-completion-length 16
printf '{"prompt": "%s", "completion": "yes"}\n' "$many" > long.jsonl
refuses '*long.jsonl:1: the prompt alone has * tokens*' \
    "$grpo" sft --model base --dataset long.jsonl --output-dir x

# what people give for the folder of a model
draw='sample --dataset questions.jsonl --max-completion-length 4 --model'
refuses "*no/such/config.json: could not be read: there is no folder no/such; to fetch a hub's model: \
hf download no/such --local-dir such, and give that folder" "$grpo" info --model no/such
refuses "*no/such/tokenizer.json: could not be read: there is no folder no/such; to fetch a hub's model: \
hf download no/such *" "$grpo" $draw no/such
refuses '*base/config.json: is a file; expected the folder of a model*' "$grpo" $draw base/config.json
mkdir -p models--an--id/snapshots/a1 models--an--id/refs && cp -R base/. models--an--id/snapshots/a1
works 'the only snapshot of a cache' "$grpo" $draw models--an--id
mkdir models--an--id/snapshots/b2 && printf 'a1\n' > models--an--id/refs/main
works 'the snapshot of refs/main' "$grpo" $draw models--an--id/
rm models--an--id/refs/main
refuses '*models--an--id: holds no snapshot of its refs/main, or several without one*'\
'hf download an/id --local-dir id*' "$grpo" $draw models--an--id
damaged base old-weights; mv old-weights/model.safetensors old-weights/pytorch_model.bin
refuses "*old-weights/model.safetensors: could not be read: found pytorch_model.bin instead*\
python3 -c \"from transformers import AutoModelForCausalLM as M; \
M.from_pretrained('old-weights').save_pretrained('old-weights')\"" "$grpo" $draw old-weights
damaged reward/final old-weights; mv old-weights/model.safetensors old-weights/pytorch_model.bin
refuses "*found pytorch_model.bin instead*AutoModelForSequenceClassification*" \
    "$grpo" info --model old-weights
damaged base old-tokenizer; mv old-tokenizer/tokenizer.json old-tokenizer/vocab.json
refuses "*old-tokenizer/tokenizer.json: could not be read: found vocab.json instead*\
AutoTokenizer as T; T.from_pretrained('old-tokenizer')*" "$grpo" $draw old-tokenizer
damaged lora/final old-adapter; mv old-adapter/adapter_model.safetensors old-adapter/adapter_model.bin
refuses "*old-adapter/adapter_model.safetensors: could not be read: found adapter_model.bin instead*\
'old-adapter/adapter_model.bin'*" "$grpo" $draw old-adapter
sed 's|"sft/final"|"no/such"|' lora/final/adapter_config.json > wrong-base/adapter_config.json
refuses '*there is no folder "no/such"; write the base model*hf download no/such --local-dir such*' \
    "$grpo" $draw wrong-base

# folders of models
refuses '*nowhere/*could not be read*' "$grpo" info --model nowhere
refuses '*run/*' "$grpo" train $train --model run --output-dir x
refuses '*reward/final: is a reward model*' "$grpo" train $train --model reward/final --output-dir x
refuses '*sft/final: is a language model*' "$grpo" train $small --reward-model sft/final --output-dir x
refuses '*reward/final: is a reward model*' \
    "$grpo" eval --policies reward/final --reward-model reward/final --dataset questions.jsonl
refuses '*reward/final: is a reward model*' "$grpo" chat --model reward/final
damaged sft/final cut
head -c 5000 sft/final/model.safetensors > cut/model.safetensors
refuses '*cut/model.safetensors*' "$grpo" info --model cut
head -c 4 sft/final/model.safetensors > cut/model.safetensors
refuses '*cut/model.safetensors*' "$grpo" info --model cut
printf 'this is no such file, it is text' > cut/model.safetensors
refuses '*cut/model.safetensors*' "$grpo" info --model cut
# header EDIT PATTERN: the header of model.safetensors changed by a sed script that keeps its length
header() {
    LC_ALL=C sed "$1" sft/final/model.safetensors > cut/model.safetensors
    if cmp -s sft/final/model.safetensors cut/model.safetensors; then
        bad "the edit $1 changes nothing"; return
    fi
    refuses "$2" "$grpo" info --model cut
    refuses "$2" "$grpo" train $train --model cut --output-dir x
}
header 's/\[26880,26944\]/[26876,26940]/' \
    '*cut/model.safetensors: *layers.0.input_layernorm.weight*26876*26880*'
header 's/\[0,26880\]/[4,26884]/' '*cut/model.safetensors: *embed_tokens.weight*'
header 's/"F32"/"I32"/' \
    '*cut: tensor model.embed_tokens.weight: found dtype I32, expected F32, F16, BF16 or F64*'
header 's/"F32"/"F16"/' '*cut/model.safetensors: *embed_tokens.weight*'
rm cut/model.safetensors
refuses '*cut/model.safetensors: could not be read: there is none*' "$grpo" info --model cut
# config EDIT PATTERN: config.json changed by a sed script
config() {
    damaged sft/final odd
    sed "$1" sft/final/config.json > odd/config.json
    if cmp -s sft/final/config.json odd/config.json; then bad "the edit $1 changes nothing"; return; fi
    refuses "$2" "$grpo" info --model odd
}
config 's/"intermediate_size": *[0-9]*/"intermediate_size": 48/' \
    '*odd: tensor model.layers.0.mlp.gate_proj.weight: found shape ?32, 16?, expected ?48, 16?*'
config 's/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 3/' '*odd: tensor model.layers.2.* is missing*'
config 's/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 1/' '*odd: unknown tensor model.layers.1.*'
config 's/LlamaForCausalLM/MambaForCausalLM/; s/"llama"/"mamba"/' '*odd/config.json*amba*'
config 's/"num_key_value_heads": *[0-9]*/"num_key_value_heads": 3/' '*odd/config.json*'
config 's/"hidden_size": *[0-9]*/"hidden_size": -4/' '*odd/config.json*hidden_size*'
config 's/"hidden_size": *[0-9]*/"hidden_size": "wide"/' '*odd/config.json*hidden_size*'
config 's/"vocab_size": *[0-9]*/"vocab_size": 2147483647/' '*odd/*'
config 's/"hidden_act": *"silu"/"hidden_act": "gelu"/' '*odd/config.json*gelu*'
config '2s/"/~/' '*odd/config.json:2:*'
damaged sft/final odd; rm odd/tokenizer.json
refuses '*odd/tokenizer.json*' "$grpo" train $train --model odd --output-dir x
damaged run torn
sed 's/"output_dir": "run"/"output_dir": "torn"/' run/config.json > torn/config.json
head -c 3000 run/checkpoint.safetensors > torn/checkpoint.safetensors
rm torn/checkpoint.before.safetensors
refuses '*torn/checkpoint.safetensors*' "$grpo" train $train --output-dir torn --save-steps 3 --resume
cp run/checkpoint.safetensors torn/; printf 'not json\n' > torn/config.json
refuses '*torn/config.json:1:*' "$grpo" train $train --output-dir torn --save-steps 3 --resume
cp run/config.json torn/; printf '{"step": 1\n' > torn/log.jsonl
refuses '*torn/log.jsonl:1:*' "$grpo" compare run torn
refuses '*run/config.json: is of a run of another build: found F32, expected F64' \
    "$grpo64" train $train --output-dir run --save-steps 3 --resume
if [ -e x ]; then bad 'a refused run left its folder behind'; else good; fi

# ---- programs that score ---------------------------------------------------------------------------
# by PATTERN PROGRAM: train with --reward-cmd PROGRAM
by() { refuses "$1" "$grpo" train $small --max-steps 2 --output-dir y --reward-cmd "$2"; rm -rf y; }
by '*the program ended (exit code 127)*' 'exec no-such-program-here 2> /dev/null'
by '*the program ended (exit code 3)*' 'exit 3'
by '*the program ended (signal 9)*' 'kill -9 $$'
refuses '*silent for 1 seconds; does it flush its output after every line*--reward-timeout*' \
    "$grpo" train $small --max-steps 2 --output-dir y --reward-cmd 'sleep 7' --reward-timeout 1
refuses '*silent for 1 seconds; does it flush*' \
    "$grpo" score --dataset samples.jsonl --reward-cmd 'cat > kept; sleep 7' --reward-timeout 1
refuses '*--reward-timeout: found 0*' \
    "$grpo" score --dataset samples.jsonl --reward-cmd 'cat' --reward-timeout 0
by '*answer of --reward-cmd:1:1: found hello*' 'echo hello; cat > /dev/null'
by '*--reward-cmd*' 'while read -r line; do echo "{\"id\": 0, \"scores\": {\"a\": 1}}"; done'
by '*two trial answers hold no label*' \
    'i=0; while read -r line; do echo "{\"id\": $i, \"scores\": {}}"; i=$((i + 1)); done'
by '*label "a": found string*' 'while read -r line; do echo "{\"id\": 0, \"scores\": {\"a\": \"b\"}}"; done'
by '*unknown label "b"*' 'i=0; while read -r line; do if [ $i -lt 2 ]; then l=a; else l=b; fi; '\
'echo "{\"id\": $i, \"scores\": {\"$l\": 1}}"; i=$((i + 1)); done'
by '*the program ended*' 'i=0; while [ $i -lt 5 ] && read -r line; do '\
'echo "{\"id\": $i, \"scores\": {\"a\": $i}}"; i=$((i + 1)); done'
counting='i=0; while read -r line; do '\
'echo "{\"id\": $i, \"scores\": {\"a\": $((i % 7)), \"b\": null}}"; i=$((i + 1)); done'
works '--reward-cmd in sh' "$grpo" train $small --max-steps 2 --output-dir counted --reward-cmd "$counting"
if grep -q '"rewards/a/mean":[0-9]' counted/log.jsonl &&
    grep -q '"rewards/b/mean":null' counted/log.jsonl; then good
else bad '--reward-cmd: a and b in the log'; fi
case $(cat "$err") in
    *'grpo: some scores are missing and count 0 in the reward'*) good ;;
    *) bad "--reward-cmd: missing scores: $(cat "$err")" ;;
esac
# said aloud: once that a loss near 0 is right, where every ratio is 1; and, each time, that groups whose
# rewards are equal teach nothing
equal='i=0; while read -r line; do echo "{\"id\": $i, \"scores\": {\"a\": 1}}"; i=$((i + 1)); done'
# aloud NAME COUNT PATTERN: so many lines of the last command's messages match
aloud() {
    if [ "$(grep -c "$3" "$err")" -eq "$2" ]; then good
    else bad "$1: expected $2 times \"$3\", found: $(cat "$err")"; fi
}
aloud 'rewards that differ' 0 'nothing to learn from'
aloud 'a loss near 0' 1 '^train: a loss near 0 is right while every ratio is 1'
works 'equal rewards' "$grpo" train $small --max-steps 2 --output-dir equal --reward-cmd "$equal"
aloud 'equal rewards' 2 \
    '^train: step [12]: 100 % of the groups have equal rewards: there is nothing to learn from'
aloud 'equal rewards: a loss near 0' 1 'a loss near 0 is right'
works 'a loss near 0: not after --resume' "$grpo" train $train --output-dir again --save-steps 0 \
    --max-steps 6 --resume
aloud 'a loss near 0: not after --resume' 0 'a loss near 0 is right'
# it dies in the middle of a run: mended, the run goes on, with the bits of a run without the accident
cat > mortal <<'PROGRAM'
i=0
while read -r line; do
    if [ $i -eq 30 ] && [ -e deadly ]; then exit 4; fi
    rest=${line#*\"prompt\"}                 # without the id, which begins anew with the program
    echo "{\"id\": $i, \"scores\": {\"a\": $((${#rest} % 7))}}"
    i=$((i + 1))
done
PROGRAM
works 'a program that lives' "$grpo" train $small --max-steps 6 --save-steps 1 --output-dir alive \
    --reward-cmd 'sh mortal'
: > deadly
refuses '*the program ended (exit code 4) before it answered every line; this was about line 30 that it '\
'got, which is of prompts.jsonl:*; the last good checkpoint is dead/checkpoint.safetensors of step 3: '\
'mend the cause, then --resume' \
    "$grpo" train $small --max-steps 6 --save-steps 1 --output-dir dead --reward-cmd 'sh mortal'
rm deadly
works 'a program that is mended' "$grpo" train --output-dir dead --resume
same_run 'the death of the program' alive dead
refuses '*label "politeness" comes from another source too*' "$grpo" train $train --output-dir y \
    --reward-cmd 'i=0; while read -r line; do '\
'echo "{\"id\": $i, \"scores\": {\"politeness\": 1}}"; i=$((i + 1)); done'
if python3 -c 'import json' 2> /dev/null; then
    works '--reward-cmd in Python' "$grpo" train $small --max-steps 2 --output-dir python \
        --reward-cmd "python3 $example"
    works 'score --reward-cmd' "$grpo" score --dataset samples.jsonl --reward-cmd "python3 $example" \
        --reward-weights brief=1 --summary
    says 'score --reward-cmd' '*brief *n 22*ended *reward*'
    works 'eval with both sources' "$grpo" eval --policies sft/final --dataset questions.jsonl \
        --reward-model reward/final --reward-cmd "python3 $example" --max-completion-length 16
    says 'eval with both sources' '*safety *brief *ended *'
else
    echo 'SKIPPED: data/reward_example.py: there is no python3'
fi

# ---- a floor under a score, held by a multiplier (E69 to E71) --------------------------------------
# three steps below the floor of 1/2, then four above, in eighths, so that the log's numbers are exact: a step
# adds 3/8, or takes it
cat > steps <<'PROGRAM'
i=0
while read -r line; do
    if [ $i -lt 26 ]; then a=0; else a=0.75; fi             # two trial lines, then eight a step
    if [ $((i % 2)) -eq 0 ]; then case $a in 0) a=0.25 ;; *) a=1 ;; esac; fi
    echo "{\"id\": $i, \"scores\": {\"a\": $a, \"b\": $((i % 7))}}"
    i=$((i + 1))
done
PROGRAM
multipliers() { sed -n 's/.*"multiplier\/a":\([^,}]*\).*/\1/p' "$1/log.jsonl" | tr '\n' ' '; }
weights_of() { "$grpo" info --model "$1/final" | sed -n 's/^  weights //p'; }
stepped="$small --max-steps 7 --reward-cmd"
floor="--reward-floors a=0.5 --multiplier-learning-rate 1 --multiplier-max 1"
works 'a floor' "$grpo" train $stepped 'sh steps' $floor --output-dir floored
if [ "$(multipliers floored)" = '0.375 0.75 1 0.625 0.25 0 0 ' ]; then good
else
    bad "a multiplier rises below the floor, up to its most, and falls to 0 above: \
found $(multipliers floored)"
fi
if grep -q 'multiplier/b' floored/log.jsonl; then bad 'a label without a floor has a multiplier'
else good; fi
works 'no floor' "$grpo" train $stepped 'sh steps' --output-dir unfloored
head -n 1 floored/log.jsonl | sed 's/,"multiplier\/a":0.375//' > "$t/io/first"
head -n 1 unfloored/log.jsonl > "$t/io/plain"
same 'the first step knows no multiplier yet' "$t/io/first" "$t/io/plain"
if [ "$(weights_of floored)" != "$(weights_of unfloored)" ]; then good
else bad 'the floor moves no weight'; fi
works 'a floor that is never touched' "$grpo" train $stepped 'sh steps' --reward-floors a=-1 \
    --output-dir unreached
if [ "$(weights_of unreached)" = "$(weights_of unfloored)" ]; then good
else bad 'a floor that is never touched changes bits'; fi
works 'trace of a floor' "$grpo" trace $stepped 'sh steps' $floor --update 3 --tokens 0
says 'trace of a floor' \
    '*a at least 0.5 on average, multiplier 0.75*A = Z + sum_k lambda_k Z_k = *0.75\**(E70)*'
works 'trace of a floor, --json' "$grpo" trace $stepped 'sh steps' $floor --update 7 --json
cp "$out" floored.json
if [ "$(sha_of floored.json)" = "$(weights_of floored)" ]; then good
else bad 'trace of a floor: its weights are not those of train'; fi
if python3 -c 'import json' 2> /dev/null; then
    works 'trace of a floor, a step in its middle' \
        "$grpo64" trace $stepped 'sh steps' $floor --update 3 --json
    cp "$out" third.json
    cat > floors.py <<'PYTHON'
import json, statistics, sys
def z(x): return [(v - statistics.mean(x)) / (statistics.stdev(x) + 1e-4) for v in x]
(generation,) = json.load(open(sys.argv[1]))["generations"]
multiplier = generation["multipliers"]["a"]
assert multiplier == 0.75, multiplier
for p in generation["prompts"]:
    c = p["completions"]
    for x, r, a in zip(c, z([x["reward"] for x in c]), z([x["scores"]["a"] for x in c])):
        assert abs(x["advantage"] - (r + multiplier * a)) < 1e-12 and abs(x["z"]["a"] - a) < 1e-12, x
print("E70 holds")
PYTHON
    works 'the auditor of a floor' python3 floors.py third.json
fi
works 'report of a floor' "$grpo" report plain=unfloored floor=floored --output floors.html
if grep -q 'Multiplier: a' floors.html; then good; else bad 'report: no curve of the multiplier'; fi
# resumed: the multipliers go on where they were
held="$small --max-steps 6 --save-steps 1 --reward-floors a=4 --multiplier-learning-rate 0.1 --reward-cmd"
works 'a floor under a program that lives' "$grpo" train $held 'sh mortal' --output-dir floor-alive
: > deadly
refuses '*the last good checkpoint is floor-dead/checkpoint.safetensors of step 3: mend the cause, then '\
'--resume' "$grpo" train $held 'sh mortal' --output-dir floor-dead
rm deadly
case "$(multipliers floor-dead)" in
    *' 0 '|'') bad "the test needs a multiplier above 0: found $(multipliers floor-dead)" ;;
    *) good ;;
esac
damaged floor-dead floor-lost
sed 's/"floor-dead"/"floor-lost"/' floor-dead/config.json > floor-lost/config.json
cp alive/checkpoint.safetensors floor-lost/
works 'a floor, --resume' "$grpo" train --output-dir floor-dead --resume
same_run 'a floor: the death of the program and --resume' floor-alive floor-dead
refuses '*floor-lost/checkpoint.safetensors: reward_floors: the run was started with null, now it is *; '\
'it is of another run' "$grpo" train --output-dir floor-lost --resume
refuses '*reward_floors: the run was started with "a=4", now it is "a=5"*' \
    "$grpo" train --output-dir floor-dead --reward-floors a=5 --resume
# what cannot be meant
floors() { pattern=$1; shift; refuses "$pattern" "$grpo" train $train --output-dir x --reward-floors "$@"; }
floors '*--reward-floors: unknown label "saftey", did you mean safety*' saftey=1
floors '*--reward-floors: label "safety" stands there twice*' safety=1,safety=1
floors '*--reward-floors: found 2 floors, expected 4*' 0.5,0.6
floors '*--reward-floors: found 0 floors, expected 4*' ''
floors '*--reward-floors: found "high", expected a number*' safety=high
floors '*--reward-floors: safety=1.5 is above the upper end of --reward-clip, 1: no mean can reach it*' \
    safety=1.5 --reward-clip 0,1
floors '*--reward-floors with --scale-rewards batch: expected group*' safety=0.5 --scale-rewards batch
floors '*--reward-floors with --multi-objective-aggregation mo_grpo: expected sum_then_normalize*' \
    safety=0.5 --multi-objective-aggregation mo_grpo
floors '*--multiplier-learning-rate: found 0, expected a number above 0*' \
    safety=0.5 --multiplier-learning-rate 0
floors '*--multiplier-max: found -1, expected a number above 0*' safety=0.5 --multiplier-max -1
refuses '*--multiplier-learning-rate, --multiplier-max: have no effect without --reward-floors*' \
    "$grpo" train $train --output-dir x --multiplier-max 2
works 'numbers alone: a floor under every label' "$grpo" train $train --max-steps 1 \
    --reward-floors 0,0.1,0.2,0.3 --output-dir four
if [ "$(grep -o '"multiplier/[a-z]*"' four/log.jsonl | wc -l)" -eq 4 ]; then good
else bad 'numbers alone: not every label has a multiplier'; fi
if [ -e x ]; then bad 'a refused run left its folder behind'; else good; fi

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
