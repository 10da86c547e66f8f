#!/bin/sh
# test_derivation.sh: the numbers of docs/derivation.md are those that the programs print: lines that begin
# with ">" are a step that `grpo trace` tells, lines that begin with "|" are figures of test_enumeration.
# `sh tests/test_derivation.sh --print` prints both anew, and --example FOLDER keeps the example's model,
# prompt and judge for commands of one's own: grpo trace --config FOLDER/step.json.
# shellcheck disable=SC2086  # $step is a list of words
root=$PWD
case ${2-} in '' | /*) example_folder=${2-} ;; *) example_folder=$PWD/$2 ;; esac
. tests/commands.sh
page=$root/docs/derivation.md

# ---- the example: a model that knows four replies, a judge of two labels, one prompt, --------------
# two updates with the same replies
prompt='my bike is broken.'
for reply in 'please oil the chain.' 'oil the chain.' 'please buy a bike.' 'so what?'; do
    echo "{\"prompt\": \"$prompt\", \"completion\": \"$reply\"}"
done > replies.jsonl
echo "{\"prompt\": \"$prompt\"}" > prompts.jsonl
cat > judge << 'PROGRAM'
i=0
while read -r line; do
    case $line in *'"completion":"'*please*) polite=0.9 ;; *) polite=0.2 ;; esac
    case $line in *'"completion":"'*oil*) help=0.8 ;; *) help=0.1 ;; esac
    echo "{\"id\": $i, \"scores\": {\"politeness\": $polite, \"help\": $help}}"
    i=$((i + 1))
done
PROGRAM
works init "$grpo" init --tokenizer-data replies.jsonl --output-dir base --vocab-size 290 --hidden-size 16 \
    --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --max-position-embeddings 64
works sft "$grpo" sft --model base --dataset replies.jsonl --output-dir sft --max-steps 100 \
    --per-device-train-batch-size 4 --learning-rate 2e-2
if [ "${1-}" = --example ]; then
    mkdir -p "$example_folder" && cp -R sft/final prompts.jsonl judge "$example_folder" || exit 2
    cat > "$example_folder/step.json" << END
{"model": "$example_folder/final", "dataset": "$example_folder/prompts.jsonl", "reward_weights": "1,0.5",
 "num_generations": 4, "per_device_train_batch_size": 4, "num_iterations": 2, "max_steps": 2, \
"learning_rate": 2e-3, "beta": 0.1, "max_completion_length": 12, "seed": 2}
END
    exit
fi
step="--num-generations 4 --per-device-train-batch-size 4 --num-iterations 2 --max-steps 2 --update 2 \
--learning-rate 2e-3 --beta 0.1 --max-completion-length 12 --seed 2"
works trace "$grpo" trace --model sft/final --dataset prompts.jsonl --reward-cmd 'sh judge' \
    --reward-weights 1,0.5 $step --tokens 4 --json
cp "$out" trace.json
cat > told.py << 'PYTHON'
import json
d = json.load(open("trace.json"))
generation, update, beta, w = d["generations"][0], d["update"], d["options"]["beta"], d["weights"]
p, m = generation["prompts"][0], generation["micro_batches"][0]
r = ["%g" % round(c["reward"], 6) for c in p["completions"]]
a = ["%.6f" % c["advantage"] for c in p["completions"]]
print("> mean = (%s)/%d = %g" % (" + ".join(r), len(r), round(p["reward_mean"], 6)))
print("> std = %.6f" % p["reward_std"])
for which, x, y in zip(("first", "second", "third", "fourth"), r, a):
    print("> A of the %s reply = (%s - %g)/(%.6f + 0.0001) = %s"
          % (which, x, round(p["reward_mean"], 6), p["reward_std"], y))
reply = m["completions"][1]
def gradient(t): return "0" if t["clipped"] else "%.6f" % (-t["ratio"] * reply["advantage"])
for t in reply["tokens"][:2]:
    where = ("clipped: ell = %.6f, g = 0" if t["clipped"]
             else "inside: ell = %.6f, g = -rho A = " + gradient(t))
    print('> "%s": logp %.6f, old %.6f, rho = exp(logp - old) = %.6f, %s'
          % (t["token"], t["logp"], t["old"], t["ratio"], where % t["policy_loss"]))
for t in reply["tokens"][:2]:
    gap = t["ref"] - t["logp"]
    print('> "%s": D = %.6f - %.6f = %.6f, k3 = %.6f, k3 rho = %.6f, its derivative -rho D = %.6f'
          % (t["token"], t["ref"], t["logp"], gap, t["k3"], t["kl"], -t["ratio"] * gap))
c = reply["tokens"][0]["weight"]
print("> c = 1/%d = %.6f" % (m["n_item"], c))
for t in reply["tokens"][:2]:
    print('> "%s": dlogp = c (g + beta (k3 rho)\') = %.6f (%s + %g * %.6f) = %.6f'
          % (t["token"], t["weight"], gradient(t), beta, -t["ratio"] * (t["ref"] - t["logp"]), t["dlogp"]))
for x in p["completions"]:
    print('> R of "%s" = %s = %g'
          % (x["completion"], " + ".join("%g*%g" % (w[k], round(x["scores"][k], 6)) for k in w),
             round(x["reward"], 6)))
print("> shares in the advantage: %s" % ", ".join("%s %.2f" % (k, p["label_share"][k]) for k in w))
print("> loss %.6f, gradient norm %.6f, scaled by %.6f, learning rate %g"
      % (update["loss"], update["grad_norm"], update["clip_coefficient"], update["learning_rate"]))
PYTHON
"$root/build/f64/tests/test_enumeration" | grep '^|' > counted
if python3 -c 'import json' 2> /dev/null; then python3 told.py > told
else
    echo 'SKIPPED: the numbers of trace: there is no python3'
    grep '^>' "$page" > told
fi
if [ "${1-}" = --print ]; then cat told counted; exit; fi

# same_lines NAME MARK FILE: the page's lines with this mark are those of the file
same_lines() {
    grep "^$2" "$page" | LC_ALL=C sort > quoted
    LC_ALL=C sort "$3" > printed
    if [ -s printed ] && cmp -s quoted printed; then good
    else bad "$1: in the page (<) and printed (>): $(diff quoted printed | head -n 6)"; fi
}
same_lines 'derivation.md: the step' '>' told
same_lines 'derivation.md: the enumeration' '|' counted

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
