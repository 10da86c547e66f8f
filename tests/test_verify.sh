#!/bin/sh
# test_verify.sh: `grpo verify` from the outside: exit codes, the judge beside it, text, JSON and JUnit,
# golden values, bad input. Run from the project's root by `make test`. What it says of each mistake,
# tests/test_verify.c asks within one process.
set -u
golden=tests/golden passed=0 failed=0
OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
export OMP_NUM_THREADS OMP_WAIT_POLICY
t=$(mktemp -d "${TMPDIR:-/tmp}/grpo-test.XXXXXX") || exit 2
trap 'rm -rf "$t"' EXIT
trap 'exit 2' HUP INT TERM

good() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf 'not ok: %s\n' "$*"; }
# gives CODE COMMAND...
gives() {
    want=$1; shift
    "$@" > "$t/out" 2> "$t/err" < /dev/null; code=$?
    if [ $code -eq "$want" ]; then good
    else bad "$*: exit code $code, expected $want: $(tail -n 1 "$t/err")"; fi
}
# has TEXT [FILE]: what the last command printed contains it
has() {
    if grep -qF -- "$1" "${2:-$t/out}"; then good
    else bad "expected \"$1\" in: $(head -n 20 "${2:-$t/out}")"; fi
}
# refuses TEXT COMMAND...: exit code 2, one line, with TEXT
refuses() {
    text=$1; shift
    gives 2 "$@"
    if [ "$(wc -l < "$t/err")" -eq 1 ]; then good
    else bad "$*: expected one line, found: $(cat "$t/err")"; fi
    has "$text" "$t/err"
}

# right, wrong, and what the dump hides
gives 0 ./grpo verify --dump $golden/right-grpo-token.safetensors
has '7 of 7 stages right, as far as this dump can show'
has 'blind to '
has 'completion 0, token 4'
# an error without bound is told as such, and is the largest
gives 1 ./grpo verify --quick --dump $golden/D38-nan-advantages.safetensors
has '       inf       inf         0       inf '
gives 1 ./grpo verify --dump $golden/clip-swapped-per_token_loss.safetensors
has 'wrong: epsilon and epsilon_high are swapped [clip-swapped]'
has 'clip-swapped: clip(ratio, 1 - epsilon_high, 1 + epsilon)'
# what another trainer does on purpose is no error, unless that is asked for
gives 3 ./grpo verify --dump $golden/D1-population-advantages.safetensors
has 'another choice: the deviation divides by n instead of n - 1'
has '[D1-population], as done by GRPO-Zero (grpo.py'
gives 1 ./grpo verify --strict --dump $golden/D1-population-advantages.safetensors
gives 0 ./grpo verify --strict --dump $golden/right-grpo-token.safetensors
gives 3 ./grpo64 verify --dump $golden/D1-population-advantages.safetensors
has 'another choice: the deviation divides by n'
has ' -  completion'                        # alone, the double build knows nothing of float
# the first line is the answer
answers() {
    if head -n 1 "$t/out" | grep -q "$1"; then good
    else bad "expected \"$1\" first in: $(head -n 2 "$t/out")"; fi
}
answers '^right, but as another trainer does: advantages: the deviation'
gives 0 ./grpo verify --dump $golden/right-grpo-token.safetensors
answers '^right$'
gives 1 ./grpo verify --dump $golden/clip-swapped-per_token_loss.safetensors
answers '^wrong: per_token_loss, dlogp: epsilon and epsilon_high are swapped'
# a dialect declared: right as it, or other than it
gives 3 ./grpo verify --dump $golden/D1-eps-1e-6-advantages.safetensors
gives 3 ./grpo verify --dump $golden/D1-eps-1e-6-advantages.safetensors --dialect verl
has 'single_reply zero (verl-0.9.1: score), as does'            # which this dump could have and has not
gives 0 ./grpo verify --dump $golden/D15-no-bias-correction-kl.safetensors --profile trl-1.9.0
has 'right as trl-1.9.0'
gives 3 ./grpo verify --dump $golden/D1-eps-1e-6-advantages.safetensors --dialect openrlhf
has 'another choice: epsilon 1e-6 beside the deviation [D1-eps-1e-6], as done by verl'
gives 3 ./grpo verify --dump $golden/right-scale-group.safetensors --dialect verl
has 'std_eps 0.0001 (verl-0.9.1: 1e-06), single_reply zero (verl-0.9.1: score), as does trl'
has 'verl-0.9.1 does: baseline group'           # and what the declared one does, with its place
has '(verl/trainer/ppo/core_algos.py: '
# without the tokens' losses, the loss is made of the clip and the KL too
gives 3 ./grpo verify --dump $golden/disputes/liger-kernel-1082.safetensors
has 'trl-1.16 does: clip 0.2, 0.2, kl '
# a gradient beside the loss that it ought to be the derivative of
gives 1 ./grpo verify --dump $golden/gradient-detached-dlogp.safetensors
has 'the loss is right, and this is not its derivative'
gives 1 ./grpo verify --dump $golden/padding-not-counted-loss.safetensors
has 'the derivative of the right loss, not of the loss that is here'
# for programs
gives 1 ./grpo verify --strict --dump $golden/D1-population-advantages.safetensors --json \
    --junit "$t/junit.xml"
has '"answer": "right, but as another trainer does: advantages: '
has '"outcome": "choice"'
has '"kind": "differs"'
has '"names": ['
has '"D1-population"'
has '"formula": "std = sqrt(sum (R - mean)^2 / n)"'
has '"done_by": "GRPO-Zero'
has '"our_float_error": '
has '<testsuite name="grpo verify" tests="3" failures="1" skipped="0">' "$t/junit.xml"
has '<failure message="another choice: the deviation divides by n instead of n - 1 (NumPy' "$t/junit.xml"
gives 3 ./grpo verify --dump $golden/D1-population-advantages.safetensors --junit "$t/junit.xml"
has 'failures="0"' "$t/junit.xml"
gives 0 ./grpo verify --list
has 'D16-group-token-mean'
has '    loss = sum_it l_it / sum_i n_i; done by DAPO'
has 'belongs to PPO'
# the legend of the names is what the table gives (`make mistakes`)
gives 0 sh docs/mistakes.sh
if cmp -s "$t/out" docs/mistakes.md; then good
else bad "docs/mistakes.md is not what \`make mistakes\` writes"; fi
# and the page of the trainers (`make trainers`)
gives 0 sh docs/trainers.sh
if cmp -s "$t/out" docs/trainers.md; then good
else bad "docs/trainers.md is not what \`make trainers\` writes"; fi
gives 0 ./grpo verify --profiles
has 'verl 0.7.1 to 0.9.1 (read: 0.9.1'
gives 0 ./grpo verify --list --json
has '"equation": "E112"'
# golden values are right in the eyes of the judge, in both precisions, and the float ones are float's
for build in grpo grpo64; do
    gives 0 ./$build verify --dump $golden/clip-swapped-per_token_loss.safetensors \
        --write "$t/$build.safetensors"
    gives 0 ./grpo verify --dump "$t/$build.safetensors"
    has ' stages right, as far as'
done
has 'float64 '
# golden values from a data set
cat > "$t/data.jsonl" <<'EOT'
{"prompt": "how are you", "completion": "well, thank you", "labels": {"polite": 0.9, "safe": 1}}
{"prompt": "how are you", "completion": "go away", "labels": {"polite": 0.1}}
EOT
printf '{"loss_type": "grpo", "reward_weights": [1, 0.5], "temperature": 0.7}' > "$t/settings.json"
gives 0 ./grpo init --tokenizer-data "$t/data.jsonl" --vocab-size 270 --hidden-size 16 \
    --num-hidden-layers 1 --num-attention-heads 2 --output-dir "$t/policy"
gives 0 ./grpo64 verify --dataset "$t/data.jsonl" --settings "$t/settings.json" --model "$t/policy" \
    --write "$t/data.safetensors"
gives 0 ./grpo verify --dump "$t/data.safetensors" --model "$t/policy"
has 'logps '
has 'step '
has ', 2 labels'
refuses 'expected --write FILE and --model' ./grpo verify --dataset "$t/data.jsonl"
# bad input
refuses 'expected a file' ./grpo verify
refuses 'no-such-file' ./grpo verify --dump no-such-file
refuses 'found "vrel", expected one of trl 0.15.0 to 1.16' \
    ./grpo verify --dump $golden/right-grpo-token.safetensors --profile vrel
refuses 'did you mean verl' ./grpo verify --dump $golden/right-grpo-token.safetensors --profile vrel
refuses 'expected a release of verl from 0.3.0 to 0.9.1' \
    ./grpo verify --dump $golden/right-grpo-token.safetensors --profile verl-7
refuses 'unknown option "dmup"' ./grpo verify --dmup x
head -c 700 $golden/right-grpo-token.safetensors > "$t/cut.safetensors"
refuses 'cut.safetensors' ./grpo verify --dump "$t/cut.safetensors"
mkdir "$t/alone" && cp grpo "$t/alone/grpo"
refuses 'make grpo64' "$t/alone/grpo" verify --dump $golden/right-grpo-token.safetensors
header='{"__metadata__":{"format":"grpo-dump-1","config":"{\"num_generations\": 2}"},'\
'"completion_ids":{"dtype":"U8","shape":[2,4],"data_offsets":[0,8]}}'
{ printf "\\$(printf %o ${#header})\\0\\0\\0\\0\\0\\0\\0%s12345678" "$header"; } > "$t/inputs.safetensors"
refuses 'nothing could be judged: it holds inputs only' ./grpo verify --dump "$t/inputs.safetensors"
# cases of our own
gives 0 ./grpo64 verify --write "$t/sharp" --sharp
gives 0 ./grpo verify --dump "$t/sharp/scores-sum.safetensors"
gives 0 ./grpo verify --dump "$t/sharp/model.safetensors" --model "$t/sharp/policy" \
    --old-model "$t/sharp/old" --ref-model "$t/sharp/reference"
has 'grad '
gives 1 ./grpo verify --dump "$t/sharp/model.safetensors" --model "$t/sharp/old" \
    --old-model "$t/sharp/old" --ref-model "$t/sharp/reference"
refuses 'folder with content' ./grpo64 verify --write "$t/sharp" --sharp

printf '%s passed, %s failed\n' "$passed" "$failed"
[ $failed -eq 0 ]
