#!/bin/sh
# test_demo_models.sh: the small models that come with the sources are those of `make demo`, and answer at
# once.
cd "$(dirname "$0")/.." || exit 2
passed=0 failed=0
check() {
    if [ "$2" = yes ]; then passed=$((passed + 1))
    else failed=$((failed + 1)); echo "not ok: $1"; fi
}
holds() { case $1 in *"$2"*) echo yes ;; *) echo "no: $1" ;; esac; }

published=$(cut -c 1-64 data/demo.sha256)
check 'the policy is the published one' \
    "$(holds "$(./grpo info --model data/demo-models/policy)" "$published")"
answer=$(printf 'how do i fix the fence?\n' | ./grpo chat --temperature 0 2> build/chat.err)
check 'chat answers without --model' "$(holds "$answer" fence)"
check 'and says what it knows' "$(holds "$(cat build/chat.err)" 'data/demo-models/policy')"
printf '{"prompt": "how do i fix the fence?", "completion": "%s"}\n' 'good question my friend.' \
    > build/demo_reply.jsonl
score=$(./grpo score --reward-model data/demo-models/reward --dataset build/demo_reply.jsonl 2>&1)
check 'the reward model scores a reply' "$(holds "$score" politeness)"
rm -f build/chat.err build/demo_reply.jsonl
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
