#!/bin/sh
# test_torture.sh: allocations that fail, kills and failing calls at every place where a file is written,
# kills at any moment. `make test` takes a part of them, `make torture` all. THIN=N: every N-th; KILLS=N:
# random ones for each command; ONLY=PATTERN: of the names that are printed.
. tests/commands.sh
root=${grpo%/grpo}
THIN=${THIN:-47} KILLS=${KILLS:-1} ONLY=${ONLY:-*}
if [ -n "${ASAN_OPTIONS-}" ] ||
    ! ${CC:-cc} -O1 -shared -fPIC -o "$t/preload.so" "$root/tests/preload.c" -ldl 2> "$err"; then
    echo 'SKIPPED: faults by LD_PRELOAD: they need glibc, and no sanitizer that has an allocator of its own'
    echo '1 passed, 0 failed'; exit 0
fi
i=10
while [ $i -lt 26 ]; do
    echo "{\"prompt\":\"fix part $i\",\"completion\":\"first look at part $i.\",\"chosen\":\"yes, part $i\",\
\"rejected\":\"no\",\"labels\":{\"safety\":0.$i,\"politeness\":0.$((99 - i))}}"
    i=$((i + 1))
done > data.jsonl
head -n 1 data.jsonl > one.jsonl
sed 's/,"completion.*/}/' data.jsonl > prompts.jsonl
sed 's/,"completion.*,"chosen"/,"chosen"/; s/,"labels.*/}/' data.jsonl > pairs.jsonl
head -n 4 pairs.jsonl | awk '{ sub(/}$/, ",\"user\":\"u" NR % 2 "\"}"); print }' > users.jsonl
echo '{"kind": "rope_inv_freq", "inputs": {"head_dim": 8, "rope_theta": 10000.0}}' > case.jsonl
size='--vocab-size 280 --hidden-size 8 --num-hidden-layers 1 --num-attention-heads 1 --intermediate-size 8 '\
'--max-position-embeddings 64'
works init "$grpo" init --tokenizer-data data.jsonl $size --output-dir base
works reward "$grpo" reward --model base --dataset data.jsonl --max-steps 1 --output-dir reward
works sft "$grpo" sft --model base --dataset data.jsonl --use-peft --max-steps 2 --output-dir adapter
works sft "$grpo" sft --model base --dataset data.jsonl --max-steps 2 --output-dir whole
works train "$grpo" train --model base --dataset prompts.jsonl --reward-model reward/final \
    --num-generations 2 --per-device-train-batch-size 2 --max-completion-length 4 --max-steps 2 \
    --output-dir traced
with() { env LD_PRELOAD="$t/preload.so" "$@"; }
report=$t/io/report; : > "$report"

# ---- allocations ---------------------------------------------------------------------------------
# print: what the command said and what is in the folder that it made, but for times, which a run's page has
# too; bench says nothing else
print() {
    [ "$name" = bench ] || {
        cat "$out"
        [ -e made ] && find made -type f ! -name timing.jsonl ! -name report.html | LC_ALL=C sort | xargs cat
    } 2> /dev/null | cksum
}
# allocations NAME COMMAND...: each allocation in turn gives nothing: exit code 2 and a line, or the right
# result
allocations() {
    name=$1; shift
    case $name in $ONLY) ;; *) return ;; esac
    rm -rf made; with FAULT_COUNT="$t/io/count" "$@" > "$out" 2> "$err" < case.jsonl; right=$?
    want=$(print) all=0 refused=0 crashed=0 wrong=0 first=
    read -r n calls < "$t/io/count"
    i=$((1 + $(printf %s "$name" | wc -c) % THIN))
    while [ $i -le "$n" ]; do
        rm -rf made; with FAULT_MALLOC=$i "$@" > "$out" 2> "$err" < case.jsonl; code=$?
        all=$((all + 1))
        # libgomp's own allocations, before main and where threads begin, end with its own line and code 1
        if [ $code -eq 2 ] || { [ $code -eq 1 ] && grep -q '^libgomp: ' "$err"; }; then
            if [ "$(grep -c -e '^grpo' -e '^libgomp' "$err")" -ge 1 ]; then refused=$((refused + 1))
            else wrong=$((wrong + 1)) first=${first:-$i}; fi
        elif [ $code -ge 126 ]; then crashed=$((crashed + 1)) first=${first:-$i}
        elif [ $code -ne $right ] || [ "$(print)" != "$want" ]; then
            wrong=$((wrong + 1)) first=${first:-$i}
        fi
        i=$((i + THIN))
    done
    echo "allocations, $name: $all of $n failed: $refused refused, $crashed crashed, $wrong wrong" \
        >> "$report"
    if [ $crashed -eq 0 ] && [ $wrong -eq 0 ]; then good
    else bad "$(tail -n 1 "$report"); the first is $first"; fi
}
allocations sft "$grpo" sft --model base --dataset one.jsonl --max-steps 2 --save-steps 1 --output-dir made \
    --json
allocations sft-lora "$grpo" sft --model base --use-peft --dataset one.jsonl --max-steps 1 --output-dir made
allocations reward "$grpo" reward --model base --dataset one.jsonl --max-steps 1 --output-dir made
allocations train "$grpo" train --model base --dataset one.jsonl --reward-model reward/final --max-steps 1 \
    --num-generations 2 --per-device-train-batch-size 2 --max-completion-length 2 --beta 0.1 \
    --output-dir made
allocations train-held "$grpo" train --model base --dataset prompts.jsonl --eval-split 0.2 \
    --reward-model reward/final --max-steps 1 --num-generations 2 --per-device-train-batch-size 2 \
    --max-completion-length 2 --output-dir made
allocations ppo "$grpo" ppo --model base --dataset one.jsonl --reward-model reward/final --max-steps 1 \
    --per-device-train-batch-size 2 --max-completion-length 2 --output-dir made
allocations dpo "$grpo" dpo --model base --dataset pairs.jsonl --max-steps 1 \
    --per-device-train-batch-size 1 --output-dir made
allocations init "$grpo" init --tokenizer-data one.jsonl $size --output-dir made
allocations merge "$grpo" merge --model adapter/final --output-dir made
allocations info "$grpo" info --model base
allocations score "$grpo" score --dataset one.jsonl --reward-model reward/final
allocations score-summary "$grpo" score --dataset data.jsonl --reward-model reward/final --summary
allocations sample "$grpo" sample --model base --dataset one.jsonl --max-completion-length 3
allocations pairs "$grpo" pairs --model base --dataset one.jsonl --reward-model reward/final \
    --max-completion-length 2 --num-generations 2
allocations eval "$grpo" eval --policies base --dataset one.jsonl --reward-model reward/final \
    --max-completion-length 2
allocations compute "$grpo" compute
allocations compare "$grpo" compare whole traced
allocations trace "$grpo" trace --config traced/config.json --max-steps 3 --update 1
allocations trace-json "$grpo" trace --config traced/config.json --max-steps 3 --update 1 --json
allocations report "$grpo" report whole traced --output made
allocations em "$grpo" em --model base --dataset users.jsonl --num-groups 2 --rounds 1 \
    --per-device-train-batch-size 2 --output-dir made
allocations aihf "$grpo" aihf --model base --reward-model none --demonstrations one.jsonl \
    --preferences pairs.jsonl --dataset one.jsonl --rounds 1 --policy-steps 1 --reward-steps 1 \
    --per-device-train-batch-size 2 --num-generations 2 --max-completion-length 2 --output-dir made
allocations mix "$grpo" mix --models whole/final,traced/final --reference base --dataset one.jsonl \
    --num-generations 2 --steps 1 --prompts-per-step 1 --max-completion-length 2 --output made
allocations collab "$grpo" collab --models whole/final,traced/final --reference base \
    --reward-model reward/final --dataset one.jsonl --top-k 2 --max-completion-length 2
allocations chat "$grpo" chat --model base --max-completion-length 2
allocations verify "$grpo64" verify --dump "$root/tests/golden/D1-eps-0-advantages.safetensors" --quick
allocations bench "$grpo" bench --model base --works decode,train,grpo --batch 1 --length 4 --prompts 1 \
    --num-generations 2 --prompt-length 2 --completion-length 2 --repeats 1

# ---- kills and failing calls ---------------------------------------------------------------------
# same_end RUN: its log, its weights and what --resume said are those of the run that was left alone
same_end() {
    cmp -s "$1/log.jsonl" left/log.jsonl && cmp -s "$1/final/$weights" "left/final/$weights" &&
        cmp -s "$out" left.said
}
# again COMMAND...: goes on, or begins where nothing is there to go on from
again() {
    if [ -f cut/config.json ]; then "$@" --output-dir cut --resume > "$out" 2> "$err"
    else "$@" --output-dir cut > "$out" 2> "$err"; fi < /dev/null
    sed 's/"cut\//"left\//g' "$out" > said; cp said "$out"
}
# faults NAME COMMAND...: killed, or a call failing, at every place; then --resume comes to the same end
faults() {
    name=$1; shift
    case $name in $ONLY) ;; *) return ;; esac
    rm -rf left
    with FAULT_COUNT="$t/io/count" "$@" --output-dir left > left.said 2> "$err" < /dev/null ||
        { bad "$name: $(tail -n 1 "$err")"; return; }
    weights=model.safetensors; [ -f left/final/$weights ] || weights=adapter_model.safetensors
    read -r n calls < "$t/io/count"
    for how in KILL CALL; do
        all=0 lost=0 first=
        i=$((1 + $(printf %s "$name" | wc -c) % THIN))
        while [ $i -le "$calls" ]; do
            rm -rf cut; with FAULT_$how=$i "$@" --output-dir cut > "$out" 2> "$err" < /dev/null; code=$?
            all=$((all + 1))
            if [ $how = CALL ] && [ $code -ne 2 ] && [ $code -ne 0 ]; then
                lost=$((lost + 1)) first=${first:-$i}
            else
                again "$@"
                same_end cut || { lost=$((lost + 1)) first=${first:-$i}; }
            fi
            i=$((i + THIN))
        done
        echo "$([ $how = KILL ] && echo kills || echo 'failing calls'), $name: $all of $calls places: \
$((all - lost)) came to the same end" >> "$report"
        if [ $lost -eq 0 ]; then good; else bad "$(tail -n 1 "$report"); the first that did not: $first"; fi
    done
    i=0 lost=0
    while [ $i -lt "$KILLS" ]; do
        i=$((i + 1))
        rm -rf cut; "$@" --output-dir cut > /dev/null 2>&1 < /dev/null & victim=$!
        sleep "$(awk -v seed="$i$(printf %s "$name" | wc -c)" \
            'BEGIN { srand(seed); printf "%.4f", rand() * 0.25 }')"
        kill -9 $victim 2> /dev/null; wait $victim 2> /dev/null
        again "$@"
        same_end cut || { lost=$((lost + 1)); echo "$name: random kill $i: $(tail -n 1 "$err")"; }
    done
    echo "random kills, $name: $((KILLS - lost)) of $KILLS came to the same end" >> "$report"
    if [ $lost -eq 0 ]; then good; else bad "$(tail -n 1 "$report")"; fi
}
some='--max-steps 4 --save-steps 1 --learning-rate 1e-3 --json'
draws="--dataset prompts.jsonl --reward-model reward/final --max-completion-length 4 --num-generations 2 \
--per-device-train-batch-size 4"
faults aihf "$grpo" aihf --model base --reward-model none --demonstrations data.jsonl \
    --preferences pairs.jsonl --dataset prompts.jsonl --rounds 2 --policy-steps 2 \
    --per-device-train-batch-size 2 --num-generations 2 --max-completion-length 3 --save-steps 1 --json
for n in 1 3; do
    faults sft-limit-$n "$grpo" sft --model base --dataset data.jsonl --per-device-train-batch-size 2 $some \
        --save-total-limit $n
done
for lora in '' --use-peft; do
    x=${lora:+-lora}
    faults "sft$x" "$grpo" sft --model base --dataset data.jsonl --per-device-train-batch-size 2 $some $lora
    faults "reward$x" "$grpo" reward --model base --dataset data.jsonl --per-device-train-batch-size 2 \
        --eval-split 0.2 $some $lora
    faults "train$x" "$grpo" train --model base $draws --beta 0.1 --num-iterations 2 $some $lora
    faults "train-held$x" "$grpo" train --model base $draws --eval-split 0.2 $some $lora
    faults "ppo$x" "$grpo" ppo --model base ${draws%--num-generations*} --per-device-train-batch-size 4 \
        $some $lora
    faults "dpo$x" "$grpo" dpo --model base --dataset pairs.jsonl --per-device-train-batch-size 2 $some $lora
done

cat "$report"
awk -F '[:,]' '
    { split($0, w, " "); sum[$1] += $1 == "allocations" ? 1 : 0 }
    /^kills|^failing/ { split($3, a, " "); split($4, b, " "); all[$1] += a[1]; same[$1] += b[1] }
    /^random/ { split($3, a, " "); same[$1] += a[1]; all[$1] += a[3] }
    /^allocations/ { split($3, a, " "); all[$1] += a[1]; same[$1] += a[1]
                     split($0, c, "refused, "); split(c[2], d, " "); same[$1] -= d[1] + d[3] }
    END { for (k in all) printf "%s: %d of %d as promised\n", k, same[k], all[k] }' "$report"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
