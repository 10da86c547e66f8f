#!/bin/sh
# test_faults.sh: what a run and its folder live through: damage to checkpoints, lost ends of logs, other
# data, two processes, a moved folder. Run from the project's root by `make test`.
. tests/commands.sh

i=10
while [ $i -lt 50 ]; do
    echo "{\"prompt\":\"fix part $i\",\"completion\":\"first look at part $i, then turn it slowly.\",\
\"labels\":{\"safety\":0.$i,\"politeness\":0.$((99 - i))}}"
    i=$((i + 1))
done > data.jsonl
sed 's/,"completion.*/}/' data.jsonl > prompts.jsonl
works init "$grpo" init --tokenizer-data data.jsonl --vocab-size 280 --hidden-size 8 --num-hidden-layers 1 \
    --num-attention-heads 1 --intermediate-size 8 --max-position-embeddings 64 --output-dir base
small="--model base --dataset data.jsonl --per-device-train-batch-size 4 --learning-rate 1e-3"
sft="$grpo sft $small --save-steps 2"
# flip FILE BYTE: its lowest bit is another one
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null
}
# tells NAME PATTERN: the last command said so on stderr
tells() { case $(cat "$err") in $2) good ;; *) bad "$1: found \"$(cat "$err")\", expected $2" ;; esac; }

# ---- checkpoints ---------------------------------------------------------------------------------
works 'a run' $sft --max-steps 6 --json --output-dir whole
cp "$out" whole.json
# copied: the run as it was after a kill: the checkpoints of steps 4 and 6, no final/
copied() { rm -rf copy; cp -R whole copy; rm -rf copy/final; }
copied
size=$(wc -c < whole/checkpoint.safetensors)
header=$(od -An -tu1 -N 2 whole/checkpoint.safetensors | awk '{ print $1 + 256 * $2 + 8 }')
for at in 0 3 7 8 9 60 100 300 700 1200 $((header - 30)) $((header - 1)) "$header" $((header + 1)) \
    $((header + 4001)) $((size / 2)) $((size - 200)) $((size - 33)) $((size - 32)) $((size - 1))
do
    cp whole/checkpoint.safetensors copy/; flip copy/checkpoint.safetensors "$at"
    works "one bit of byte $at of $size is another" $sft --max-steps 6 --json --output-dir copy --resume
    tells "byte $at" '*copy/checkpoint.safetensors*; going on from the one before it*'
    cp whole.json a; sed 's/copy\/final/whole\/final/' "$out" > b
    same "byte $at: the result" a b
    same_run "byte $at" whole copy
    cp whole/checkpoint.before.safetensors copy/
done
for n in 0 7 8 100 "$header" $((size / 2)) $((size - 32)) $((size - 1)); do
    copied; head -c "$n" whole/checkpoint.safetensors > copy/checkpoint.safetensors
    works "a checkpoint of $n bytes" $sft --max-steps 6 --output-dir copy --resume
    tells "a checkpoint of $n bytes" '*copy/checkpoint.safetensors*; going on from the one before it*'
    same_run "a checkpoint of $n bytes" whole copy
done
copied; rm copy/checkpoint.safetensors
works 'the last checkpoint is gone' $sft --max-steps 6 --output-dir copy --resume
tells 'the last checkpoint is gone' '*copy/checkpoint.safetensors*going on from the one before it*'
same_run 'the last checkpoint is gone' whole copy
copied
dd if=/dev/zero of=copy/checkpoint.safetensors bs=1 seek=$((size / 2)) count=$((size - size / 2)) \
    conv=notrunc 2> /dev/null
works 'half a checkpoint of zeros' $sft --max-steps 6 --output-dir copy --resume
same_run 'half a checkpoint of zeros' whole copy
same 'the bad one is replaced, the good one before it stays' \
    whole/checkpoint.before.safetensors copy/checkpoint.before.safetensors
copied; rm copy/checkpoint.before.safetensors; flip copy/checkpoint.safetensors $((size / 2))
refuses '*copy/checkpoint.safetensors: is damaged: its SHA-256 is not the one that it ends with; '\
'there is none before it: start again*' $sft --max-steps 6 --output-dir copy --resume
copied; flip copy/checkpoint.safetensors $((size / 2)); flip copy/checkpoint.before.safetensors $((size / 2))
refuses '*is damaged*; nor is the one before it good: start again*' \
    $sft --max-steps 6 --output-dir copy --resume
works reward "$grpo" reward $small --max-steps 1 --output-dir reward
works 'trace' "$grpo" train $small --dataset prompts.jsonl --reward-model reward/final --num-generations 2 \
    --max-completion-length 4 --max-steps 2 --save-steps 1 --output-dir traced
flip traced/checkpoint.safetensors $((size / 2))
refuses '*traced/checkpoint.safetensors: is damaged*' \
    "$grpo" trace --config traced/config.json --max-steps 3 --resume

# ---- how many are kept ---------------------------------------------------------------------------
# kept RUN NAMES...: these are its checkpoints
kept() {
    run=$1; shift
    found=$(ls "$run" | grep '^checkpoint' | tr '\n' ' ' | sed 's/\.safetensors//g; s/ $//')
    if [ "$found" = "$*" ]; then good; else bad "$run holds the checkpoints $found, expected $*"; fi
}
# of_step FILE STEP: it is the checkpoint of that step, by the lines of the log that it speaks of
of_step() {
    if head -c 9000 "$1" | grep -a -q "\"lines\":\"$2 $2\""; then good
    else bad "$1 is not of step $2: $(head -c 9000 "$1" | grep -a -o '"lines":"[^"]*"')"; fi
}
kept whole checkpoint.before checkpoint
for n in 1 2 3 4; do
    works "--save-total-limit $n" $sft --max-steps 12 --save-total-limit $n --output-dir limit$n
    same_run "--save-total-limit $n" limit1 limit$n
done
kept limit1 checkpoint
kept limit2 checkpoint.before checkpoint
kept limit3 checkpoint.before.8 checkpoint.before checkpoint
kept limit4 checkpoint.before.6 checkpoint.before.8 checkpoint.before checkpoint
of_step limit4/checkpoint.before.6.safetensors 6; of_step limit4/checkpoint.before.8.safetensors 8
of_step limit4/checkpoint.before.safetensors 10; of_step limit4/checkpoint.safetensors 12
# each of them is one to go on from, when those after it are bad
spoil() { for f in "$@"; do flip "$f" $((size / 2)); done; }
rm -rf copy; cp -R limit4 copy; rm -rf copy/final
spoil copy/checkpoint.safetensors copy/checkpoint.before.safetensors copy/checkpoint.before.8.safetensors
works 'the last three are bad' $sft --max-steps 12 --save-total-limit 4 --output-dir copy --resume
tells 'the last three are bad' '*copy/checkpoint.safetensors: is damaged*; '\
'going on from copy/checkpoint.before.6.safetensors*going on after step 6*'
same_run 'the last three are bad' limit1 copy
kept copy checkpoint.before.6 checkpoint.before.8 checkpoint.before checkpoint
of_step copy/checkpoint.before.8.safetensors 8; of_step copy/checkpoint.safetensors 12
works 'what took the place of the bad ones is good' \
    sh -c 'rm -r copy/final copy/checkpoint.safetensors && "$@"' \
    sh $sft --max-steps 12 --save-total-limit 4 --output-dir copy --resume
tells 'what took the place of the bad ones is good' '*going on from the one before it*going on after step 10*'
rm -rf copy; cp -R limit4 copy; spoil copy/checkpoint*
refuses '*copy/checkpoint.safetensors: is damaged*; nor is any of the 3 before it good: start again*' \
    $sft --max-steps 12 --save-total-limit 4 --output-dir copy --resume
# a kill between two renames leaves no checkpoint.before
rm -rf copy; cp -R limit4 copy; rm -rf copy/final
mv copy/checkpoint.before.safetensors copy/checkpoint.before.10.safetensors; spoil copy/checkpoint.safetensors
works 'killed between two renames' $sft --max-steps 12 --save-total-limit 4 --output-dir copy --resume
tells 'killed between two renames' \
    '*going on from copy/checkpoint.before.10.safetensors*going on after step 10*'
# a limit that is lower than before, and a run that goes on from an earlier checkpoint
rm -rf copy; cp -R limit4 copy
works 'a lower limit' $sft --max-steps 14 --save-total-limit 1 --output-dir copy --resume
kept copy checkpoint
rm -rf copy; cp -R limit4 copy; rm -rf copy/final
cp copy/checkpoint.before.6.safetensors copy/checkpoint.safetensors
works 'from an earlier checkpoint' \
    $sft --max-steps 12 --save-steps 5 --save-total-limit 4 --output-dir copy --resume
kept copy checkpoint.before.6 checkpoint.before checkpoint
of_step copy/checkpoint.before.safetensors 10
same_run 'from an earlier checkpoint' limit1 copy
rm -rf copy; cp -R limit4 copy; 
for f in checkpoint-6 checkpoint.before.x checkpoint.before. checkpoint.before.06 checkpoint.before.6.mine; do
    : > copy/$f.safetensors
done
works 'files of other names stay' $sft --max-steps 14 --save-total-limit 2 --output-dir copy --resume
kept copy checkpoint-6 checkpoint.before. checkpoint.before.06 checkpoint.before.6.mine checkpoint.before \
    checkpoint.before.x checkpoint
for n in 0 -1; do
    refuses "*--save-total-limit: found $n, expected at least 1*" $sft --save-total-limit $n --output-dir x
done
echo '{"save_total_limit": 1, "save_steps": 2}' > hf.json
works 'save_total_limit in a configuration' "$grpo" sft $small --max-steps 12 --config hf.json --output-dir hf
kept hf checkpoint
echo '{"save_total_limit": null}' > hf.json
works 'save_total_limit null' $sft --max-steps 6 --config hf.json --output-dir hf-null
kept hf-null checkpoint.before checkpoint

# ---- whose checkpoint it is ----------------------------------------------------------------------
works 'another run' $sft --max-steps 6 --seed 7 --output-dir other
copied; cp other/checkpoint.safetensors copy/
refuses '*copy/checkpoint.safetensors: seed: the run was started with 7, now it is 42;*; '\
'it is of another run' $sft --max-steps 6 --output-dir copy --resume
works 'a longer run' $sft --max-steps 8 --output-dir longer
copied; cp longer/checkpoint.safetensors copy/
refuses '*copy/checkpoint.safetensors: is of a run of 8 steps; it is of another run' \
    $sft --max-steps 6 --output-dir copy --resume
copied; sed 's/slowly/at once/' data.jsonl > "$t/io/data"
cp data.jsonl "$t/io/former"; cp "$t/io/data" data.jsonl
refuses '*copy/config.json: --dataset data.jsonl has changed since the run began: *' \
    $sft --max-steps 6 --output-dir copy --resume
cp "$t/io/former" data.jsonl
cp -R base changed; flip changed/model.safetensors "$(($(wc -c < changed/model.safetensors) - 1))"
refuses '*copy/config.json: --model changed has changed since the run began: *' \
    $sft --max-steps 6 --output-dir copy --resume --model changed

# ---- another place, another spelling, more steps -------------------------------------------------
copied; mkdir -p else/where; rm -rf else/where/copy; mv copy else/where/
rm else/where/copy/checkpoint.safetensors
works 'a run that was moved' "$grpo" sft --output-dir ./else//where/copy/ --resume
same_run 'a run that was moved' whole else/where/copy
rm else/where/copy/checkpoint.safetensors
works 'from another folder' sh -c 'cd else/where && '\
'"$1" sft --output-dir copy --resume --model ../../base --dataset ../.././data.jsonl' sh "$grpo"
same_run 'from another folder' whole else/where/copy
copied
works 'more steps' $sft --max-steps 8 --output-dir copy --resume
tells 'more steps' '*sft: 8 steps instead of 6: from here on the linear schedule is that of '\
'a run of 8 steps*going on after step 6*'
if [ "$(grep -c '"loss"' copy/log.jsonl)" -eq 8 ]; then good
else bad "more steps: the log has $(grep -c '"loss"' copy/log.jsonl) steps of 8"; fi
refuses '*copy/config.json: the run was planned with 8 steps, now with 6; expected as many or more*' \
    $sft --max-steps 6 --output-dir copy --resume
works 'more steps, and the checkpoint of the former plan' \
    sh -c 'rm copy/checkpoint.safetensors && "$1" sft --output-dir copy --resume' sh "$grpo"

# ---- a power failure: ends of files are lost -----------------------------------------------------
copied; cp copy/log.jsonl a; head -c 300 a > copy/log.jsonl
works 'a lost end of the log' $sft --max-steps 6 --output-dir copy --resume
tells 'a lost end of the log' '*copy/log.jsonl: its end was lost, or it was changed*going on after step 6*'
copied; n=$(sed -n 1,5p copy/log.jsonl | wc -c)
dd if=/dev/zero of=copy/log.jsonl bs=1 seek="$n" count=60 conv=notrunc 2> /dev/null
works 'zeros at the end of the log' $sft --max-steps 6 --output-dir copy --resume
tells 'zeros at the end of the log' '*copy/log.jsonl: its first * bytes are not those that '\
'copy/checkpoint.safetensors speaks of*going on after step 4*'
same_run 'zeros at the end of the log' whole copy
copied; n=$(sed -n 1,2p copy/log.jsonl | wc -c)
dd if=/dev/zero of=copy/log.jsonl bs=1 seek="$n" count=60 conv=notrunc 2> /dev/null
works 'zeros in the log before both checkpoints' $sft --max-steps 6 --output-dir copy --resume
tells 'zeros in the log before both checkpoints' \
    '*copy/log.jsonl: its end was lost, or it was changed*going on after step 6*'
if [ "$(grep -c '^{"step":[12],"loss"' copy/log.jsonl)" -eq 2 ] &&
    [ "$(wc -l < copy/log.jsonl)" -eq 3 ]; then good
else bad "zeros in the log: $(wc -l < copy/log.jsonl) lines are left, expected two and the cost"; fi
copied; : > copy/timing.jsonl
works 'a lost timing.jsonl' $sft --max-steps 6 --output-dir copy --resume
tells 'a lost timing.jsonl' '*copy/timing.jsonl: its end was lost*'
same_run 'a lost timing.jsonl' whole copy

copied; rm copy/checkpoint.safetensors
echo "not the run's" > mine; rm copy/log.jsonl; ln -s ../mine copy/log.jsonl
refuses '*copy/log.jsonl: cannot be opened for writing: it is a link, expected a file' \
    $sft --max-steps 6 --output-dir copy --resume
if [ "$(cat mine)" = "not the run's" ]; then good
else bad 'a link in the folder of a run: what it leads to was changed'; fi
copied; rm copy/log.jsonl; mkfifo copy/log.jsonl
refuses '*copy/log.jsonl: found a named pipe*' $sft --max-steps 6 --output-dir copy --resume

# ---- kills and other processes -------------------------------------------------------------------
mkdir begun; printf '{"comm' > begun/config.json.tmp
works 'a folder in which a run was killed before it had config.json' $sft --max-steps 6 --output-dir begun
same_run 'a run in such a folder' whole begun
$sft --max-steps 100000 --output-dir busy > "$t/io/busy" 2>&1 & first=$!
while kill -0 $first 2> /dev/null && [ ! -f busy/checkpoint.safetensors ]; do nap; done
refuses '*busy: another process is at work in this folder: wait for its end or stop it*' \
    $sft --max-steps 100000 --output-dir busy --resume
kill -9 $first; wait $first 2> /dev/null
works 'the lock ends with its holder' \
    sh -c '"$@" & p=$!; sleep 0.3; kill -9 $p 2> /dev/null; wait $p 2> /dev/null; '\
'grep -q "going on after step" "$0"' "$err" $sft --max-steps 100000 --output-dir busy --resume


# ---- signals -------------------------------------------------------------------------------------
# stopped SIGNAL CODE COMMAND...: the signal ends the run after its step, with a checkpoint; a second one
# at once
stopped() {
    signal=$1 expected=$2; shift 2
    rm -rf stopped
    "$@" --max-steps 1000000 --save-steps 0 --output-dir stopped > "$out" 2> "$err" & victim=$!
    while kill -0 $victim 2> /dev/null && [ "$(cat stopped/log.jsonl 2> /dev/null | wc -l)" -lt 3 ]; do
        nap
    done
    kill -"$signal" $victim; wait $victim; code=$?
    if [ $code -eq "$expected" ] && [ -f stopped/checkpoint.safetensors ]; then good
    else bad "SIG$signal: exit code $code, expected $expected; $(tail -n 1 "$err")"; fi
    tells "SIG$signal" \
        "*: SIG$signal: ended after step * of 1000000; to go on: grpo $2 --output-dir stopped --resume"
    tail -n 1 stopped/log.jsonl > a
    n=$(sed -n 's/.*: ended after step \([0-9]*\) .*/\1/p' "$err")
    if grep -q "\"step\":$n," a; then good
    else bad "SIG$signal: the log ends with $(cat a), the run after step $n"; fi
}
stopped TERM 143 $sft
# under nohup, or where else the caller ignores SIGHUP, it is ignored here too
if [ -z "$(exec 2> /dev/null; sh -c 'kill -HUP $$; echo alive'; :)" ]; then
    stopped HUP 129 "$grpo" reward $small
fi
stopped TERM 143 "$grpo" train --model base --dataset prompts.jsonl --reward-model reward/final \
    --num-generations 2 --per-device-train-batch-size 4 --max-completion-length 6 --num-iterations 3
( trap '' HUP; exec $sft --max-steps 3000 --save-steps 0 --output-dir nohup > "$out" 2> "$err" ) & victim=$!
while kill -0 $victim 2> /dev/null && [ "$(cat nohup/log.jsonl 2> /dev/null | wc -l)" -lt 3 ]; do nap; done
kill -HUP $victim; wait $victim; code=$?
if [ $code -eq 0 ]; then good; else bad "nohup: exit code $code: $(tail -n 1 "$err")"; fi

# ---- standard streams, threads, locale -----------------------------------------------------------
if [ -e /dev/full ]; then
    head -n 1 data.jsonl > one.jsonl
    echo '{"kind": "rope_inv_freq", "inputs": {"head_dim": 8, "rope_theta": 10000.0}}' > case
    for command in help 'sft --help' 'compute --list' 'info --model base' 'info --model base --json' \
        'score --dataset one.jsonl --reward-model reward/final' \
        'score --dataset data.jsonl --reward-model reward/final --summary' \
        'compare whole other' 'compare whole other --json' \
        'eval --policies base --dataset prompts.jsonl --reward-model reward/final --max-completion-length 4' \
        'sample --model base --dataset prompts.jsonl --max-completion-length 4' \
        'pairs --model base --dataset prompts.jsonl --reward-model reward/final --max-completion-length 4 '\
'--num-generations 2' \
        'trace --config traced/config.json --max-steps 3 --update 1' \
        'trace --config traced/config.json --max-steps 3 --update 1 --json' 'verify --list' \
        "sft $small --max-steps 1 --output-dir full1" "sft $small --max-steps 1 --json --output-dir full2"
    do
        "$grpo" $command > "$out" 2> "$err"; before=$?
        rm -rf full1 full2
        "$grpo" $command > /dev/full 2> "$err"; code=$?
        if [ $code -eq 2 ]; then good
        else bad "grpo $command, standard output is full: exit code $code ($before otherwise)"; fi
        tells "grpo $command, standard output is full" \
            "*grpo ${command%% *}: standard output: could not be written*"
    done
    "$grpo" compute < case > /dev/full 2> "$err"; code=$?
    if [ $code -eq 2 ]; then good; else bad "compute, standard output is full: exit code $code"; fi
else
    echo 'SKIPPED: standard output is full: there is no /dev/full'
fi
"$grpo" info --model base >&- 2> "$err"; code=$?
if [ $code -eq 2 ]; then good; else bad "standard output is closed: exit code $code"; fi
"$grpo" compute <&- > "$out" 2> "$err"; code=$?
if [ $code -eq 2 ]; then good; else bad "standard input is closed: exit code $code"; fi
rm -rf closed; $sft --max-steps 6 --output-dir closed <&- > /dev/null 2>&-; code=$?
if [ $code -eq 0 ]; then good; else bad "standard input and error are closed: exit code $code"; fi
same_run 'standard input and error are closed' whole closed
works '100000 threads' env OMP_NUM_THREADS=100000 OMP_WAIT_POLICY=passive "$grpo" info --model base
for where in de_DE.UTF-8 de_DE.utf8 fr_FR.UTF-8; do
    rm -rf comma; works "locale $where" env LC_ALL=$where $sft --max-steps 6 --output-dir comma
    same_run "locale $where" whole comma
done

# ---- disks ---------------------------------------------------------------------------------------
limited() ( ulimit -f "$1"; shift; exec "$@" )
for n in 1 2 4 8 16 40 60 70 80; do
    rm -rf limit; limited $n $sft --max-steps 6 --output-dir limit > "$out" 2> "$err"; code=$?
    if [ $code -eq 2 ] ||
        [ "$(cat limit/final/model.safetensors | wc -c)" -eq \
            "$(cat whole/final/model.safetensors | wc -c)" ]; then good
    else bad "files of at most $n blocks: exit code $code: $(tail -n 1 "$err")"; fi
    if [ $code -eq 2 ] && [ -f limit/config.json ]; then
        works "files of at most $n blocks: --resume" "$grpo" sft --output-dir limit --resume
        same_run "files of at most $n blocks: --resume" whole limit
    fi
done
rm -rf gone; $sft --max-steps 1000000 --output-dir gone > "$out" 2> "$err" & victim=$!
while kill -0 $victim 2> /dev/null && [ ! -f gone/checkpoint.safetensors ]; do nap; done
rm -rf gone 2> /dev/null; rm -rf gone; wait $victim; code=$?
if [ $code -eq 2 ]; then good
else bad "the folder is removed under way: exit code $code: $(tail -n 1 "$err")"; fi
tells 'the folder is removed under way' '*grpo sft: gone/checkpoint.safetensors*'
: > file
refuses '*file*' $sft --max-steps 2 --output-dir file/run
if [ "$(id -u)" -ne 0 ]; then
    mkdir readonly && chmod a-w readonly
    refuses '*readonly*Permission denied*' $sft --max-steps 2 --output-dir readonly/run
fi

# ---- numbers that go wrong -----------------------------------------------------------------------
# told N PATTERN: N lines of stderr match
told() {
    n=$(grep -c "$2" "$err")
    if [ "$n" -eq "$1" ]; then good
    else bad "found $n lines of \"$2\", expected $1: $(cat "$err")"; fi
}
works 'a policy that a learning rate has killed' $sft --learning-rate 1e3 --max-steps 40 --output-dir dead
told 1 'sft: step [0-9]*: the gradient is exactly 0: nothing is learned any more'
told 1 'sft: step [0-9]*: the loss has grown beyond all measure'
refuses '*step *: for 20 lines of the log the loss has grown beyond all measure: '\
'the learning rate is too high; *' \
    $sft --learning-rate 1e3 --max-steps 80 --output-dir dead2 --save-steps 1
if [ -e dead2/final ]; then bad 'a dead policy became final/'; else good; fi
refuses '*step *: not every number of the weights is finite any more: lower the learning rate*' \
    $sft --learning-rate 3e38 --max-steps 40 --max-grad-norm 0 --save-steps 1 --output-dir overflow
if [ -e overflow/final ]; then bad 'weights that are not finite became final/'; else good; fi
works 'a dead policy is quiet about a gradient of 0 where nothing is to be learned' \
    $sft --learning-rate 0 --max-steps 4 --output-dir still
told 0 'the gradient is exactly 0'
answers='while read -r line; do id=${line#*\"id\":}; echo "{\"id\":${id%%,*},\"scores\":{\"a\":SCORE}}"; done'
for score in 0.5 null; do
    works "rewards that are all $score" "$grpo" train --model base --dataset prompts.jsonl \
        --num-generations 2 --per-device-train-batch-size 4 --max-completion-length 4 --max-steps 14 \
        --reward-cmd "$(printf %s "$answers" | sed "s/SCORE/$score/")" --output-dir rewards-$score
    cp "$err" said-$score
done
cp said-0.5 "$err"
told 1 'train: step 10: the rewards of a prompt.s replies are all the same, in every group'
cp said-null "$err"; told 1 'train: step 1: no reply of this update has a reward'
works 'a policy that has collapsed' "$grpo" train --model base --dataset prompts.jsonl \
    --reward-model reward/final --num-generations 2 --per-device-train-batch-size 4 \
    --max-completion-length 4 --max-steps 30 --learning-rate 1 --beta 0.01 --output-dir collapsed
told 1 'train: step [0-9]*: the policy has collapsed'

# ---- a configuration is no program ----------------------------------------------------------------
judge="touch was-run; $(printf %s "$answers" | sed 's/SCORE/0.5/')"
judged="--model base --dataset prompts.jsonl --num-generations 2 --per-device-train-batch-size 4 \
--max-completion-length 4 --save-steps 1"
works 'a run with a reward program' "$grpo" train $judged --max-steps 2 --reward-cmd "$judge" \
    --output-dir program
rm -f was-run
for command in train ppo trace 'info --run train'; do
    cp program/config.json stranger.json
    [ "$command" = ppo ] &&
        printf '{"reward_cmd": "touch was-run", "model": "base", "dataset": "prompts.jsonl"}' > stranger.json
    refuses '*stranger.json:*: reward_cmd: found the program "*touch was-run*": a configuration starts '\
'no program by itself; give --reward-cmd on the command line*' \
        "$grpo" $command --config stranger.json --output-dir never
    if [ -e was-run ]; then bad "grpo $command: the program of a stranger's configuration was run"; rm was-run
    else good; fi
done
refuses '*bridge.json:1:*: bridge_cmd: found the program*' \
    "$grpo" pairs --config bridge.json $(printf '{"bridge_cmd": "touch was-run"}' > bridge.json)
works 'the same program, asked for' "$grpo" train --config program/config.json --reward-cmd "$judge" \
    --output-dir program-again
same_run 'the same program, asked for' program program-again
rm -rf program/final program/checkpoint.safetensors was-run
works "--resume of one's own run" "$grpo" train --output-dir program --resume
if [ -e was-run ]; then good; else bad "--resume: the run's own program was not run"; fi
same_run "--resume of one's own run" program-again program

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
