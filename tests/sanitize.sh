#!/bin/sh
# sanitize.sh [PART...]: the program under tools that see what a test that merely passes does not, each part
# in a copy under build/sanitize.
#   address   make test with gcc's sanitizers for addresses, undefined behaviour and leaks
#   thread    the tests of the parallel loops, and a short run of each command, with clang's sanitizer for
#             threads; its OpenMP runtime brings libarcher, by which the sanitizer knows of barriers
#   valgrind  a short run of each command: reads of memory that nobody wrote
#   analyse   gcc -fanalyzer, clang-tidy, cppcheck (tests/analyse.txt has what they are told to leave out,
#             with reasons)
# A tool that is not there is told and skipped. Ends with "N passed, N failed".
# shellcheck disable=SC2046,SC2086  # lists of words
cd "$(dirname "$0")/.." || exit 2
[ $# -gt 0 ] || set -- address thread valgrind analyse
jobs=$(getconf _NPROCESSORS_ONLN) passed=0 failed=0 root=$PWD/build/sanitize
mkdir -p "$root"
good() { passed=$((passed + 1)); echo "$1: no finding"; }
bad() { failed=$((failed + 1)); echo "$1: a finding: $2"; }
there() { command -v "$1" > /dev/null || { echo "SKIPPED: $1 is not there"; return 1; }; }
copy() {
    rm -rf "${root:?}/$1"; mkdir -p "$root/$1"
    tar cf - --exclude=./build --exclude=./runs --exclude=./models --exclude=./.git . |
        tar xf - -C "$root/$1"
}

# short_runs NAME FOLDER_OF_GRPO PREFIX...: each command once, small, under PREFIX; exit code 0 is expected
short_runs() {
    part=$1 grpo=$2/grpo golden=$PWD/tests/golden; shift 2
    rm -rf "$root/$part-runs"; mkdir -p "$root/$part-runs"; cd "$root/$part-runs" || return
    for i in 10 11 12 13 14 15 16 17; do
        echo "{\"prompt\":\"fix part $i\",\"completion\":\"first look at part $i.\",\
\"chosen\":\"yes, part $i\",\"rejected\":\"no\",\"user\":\"u$((i % 2))\",\
\"labels\":{\"safety\":0.$i,\"politeness\":0.$((99 - i))}}"
    done > data.jsonl
    sed 's/,"completion.*/}/' data.jsonl > prompts.jsonl
    sed 's/,"completion.*,"chosen"/,"chosen"/; s/,"labels.*/}/' data.jsonl > pairs.jsonl
    echo '{"kind": "rope_inv_freq", "inputs": {"head_dim": 8, "rope_theta": 10000.0}}' > case.jsonl
    draws='--dataset prompts.jsonl --reward-model reward/final --max-completion-length 4 '\
'--num-generations 2 --per-device-train-batch-size 4 --max-steps 2'
    while read -r name options; do
        command=${name%%-*}
        if OMP_NUM_THREADS=3 "$@" "$grpo" "$command" $options \
            > "$name.out" 2> "$name.err" < case.jsonl; then good "$part, $name"
        else bad "$part, $name" "exit code $?, see build/sanitize/$part-runs/$name.err"; fi
    done << RUNS
init --tokenizer-data data.jsonl --vocab-size 280 --hidden-size 16 --num-hidden-layers 2 \
    --num-attention-heads 2 --intermediate-size 16 --max-position-embeddings 64 --output-dir base
reward --model base --dataset data.jsonl --max-steps 2 --output-dir reward
reward-pairs --model base --dataset pairs.jsonl --loss-type bradley_terry --max-steps 2 --output-dir ranked
sft --model base --dataset data.jsonl --max-steps 2 --output-dir whole
sft-lora --model base --dataset data.jsonl --use-peft --max-steps 2 --output-dir adapter
merge --model adapter/final --output-dir merged
dpo --model base --dataset pairs.jsonl --max-steps 2 --output-dir dpo
dpo-tdpo2 --model base --dataset pairs.jsonl --loss-type tdpo2 --max-steps 2 --output-dir tdpo2
dpo-flow --model base --dataset pairs.jsonl --loss-type flow_subtb --max-steps 2 --output-dir flow
train --model base $draws --beta 0.1 --num-iterations 2 --output-dir train
train-lora --model base $draws --use-peft --output-dir train-lora
ppo --model base ${draws%--num-generations*}--per-device-train-batch-size 4 --max-steps 2 --output-dir ppo
em --model base --dataset pairs.jsonl --num-groups 2 --rounds 2 --output-dir em
aihf --model base --reward-model none --demonstrations data.jsonl --preferences pairs.jsonl \
    --dataset prompts.jsonl --rounds 1 --policy-steps 1 --per-device-train-batch-size 2 --num-generations 2 \
    --max-completion-length 3 --output-dir aihf
sample --model base --dataset prompts.jsonl --max-completion-length 4
sample-mixture --model base,whole/final --mixture-weights 0.5,0.5 --dataset prompts.jsonl \
    --max-completion-length 4
mix --models whole/final,dpo/final --reference base --dataset prompts.jsonl --num-generations 2 --steps 2 \
    --prompts-per-step 2 --max-completion-length 4 --output weights.json
collab --models whole/final,dpo/final --reference base --reward-model reward/final --dataset prompts.jsonl \
    --top-k 2 --max-completion-length 4
score --dataset data.jsonl --reward-model reward/final
pairs --model base --dataset prompts.jsonl --reward-model reward/final --max-completion-length 4 \
    --num-generations 2
eval --policies base --dataset prompts.jsonl --reward-model reward/final --max-completion-length 4
compute
compare whole whole
trace --config train/config.json --max-steps 3 --update 1
info --model base
info-run --run train --model base $draws
report whole train --output page.html
verify --dump $golden/right-masked-truncated.safetensors
RUNS
    cd "$root/../.." || exit 2
}

# First the test programs, then the tests of the commands. These build networks, which the sanitizers make a
# hundred times slower: the loops below, which the test programs have just run under them, are then built as
# always.
address() {
    there gcc || return
    copy address
    # what lives as long as the process: data sets, options, and all that the programs beside grpo read
    printf 'leak:%s\n' dataset_load_some data_memory options_parse build/demo_table build/experiment \
        build/make_world > "$root/address/leaks.txt"
    if ( cd "$root/address" || exit
        LSAN_OPTIONS=suppressions=$PWD/leaks.txt:print_suppressions=0 ASAN_OPTIONS=exitcode=99
        export LSAN_OPTIONS ASAN_OPTIONS
        built() {
            make -j"$jobs" CC=gcc \
                CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined' "$@" > /dev/null
        }
        programs=$(for file in tests/test_*.c; do echo "${file%.c}"; done)
        built all build/make_world build/demo_table build/experiment_tables build/experiment_others lib \
            $(printf 'build/f32/%s ' $programs) $(printf 'build/f64/%s ' $programs) || exit
        sh tests/run.sh $(printf 'build/f32/%s ' $programs) $(printf 'build/f64/%s ' $programs) || exit
        plain=$(sed 's/-f[a-z-]*sanitize[^ ]*//g; s/-O1/-O3/' build/flags)
        for loop in lib/gemm lib/elementary lib/optim lib/machine net/attention net/logits net/lora; do
            $plain -c -o build/f32/$loop.o $loop.c &&
                $plain -DREAL_IS_DOUBLE -c -o build/f64/$loop.o $loop.c || exit
        done
        # test_library.sh links the library to programs without the sanitizers' own
        built all && sh tests/run.sh $(printf '%s\n' tests/test_*.sh | grep -v library) tests/equations.sh
    ) > "$root/address.log" 2>&1; then
        good "address, $(grep -c ' passed, 0 failed$' "$root/address.log") tests"
    else bad address 'see build/sanitize/address.log'; fi
}

thread() {
    there clang || return
    archer=$(find "$(clang -print-resource-dir)/../../" -name 'libarcher.so' 2> /dev/null | head -n 1)
    [ "$archer" ] || { echo 'SKIPPED: libarcher is not there (it comes with libomp)'; return; }
    copy thread
    loops='gemm attention model rollout train grpo pair_batch folder'
    make -C build/sanitize/thread -j"$jobs" CC=clang CFLAGS='-O1 -g -fsanitize=thread -Wno-pass-failed' \
        grpo $(printf 'build/f32/tests/test_%s ' $loops) > "$root/thread.log" 2>&1 ||
        { bad thread 'does not build, see build/sanitize/thread.log'; return; }
    OMP_TOOL_LIBRARIES=$archer TSAN_OPTIONS='ignore_noninstrumented_modules=1 exitcode=99'
    export OMP_TOOL_LIBRARIES TSAN_OPTIONS
    if OMP_NUM_THREADS=3 "$root/thread/build/f32/tests/test_attention" 2>&1 |
        grep -q 'unexpected memory mapping'; then
        echo 'SKIPPED: the sanitizer for threads does not know the addresses of this kernel'; return
    fi
    for name in $loops; do
        if ( cd "$root/thread" && OMP_NUM_THREADS=3 build/f32/tests/test_$name ) \
            > "$root/thread-$name.log" 2>&1; then good "thread, test_$name"
        else bad "thread, test_$name" "see build/sanitize/thread-$name.log"; fi
    done
    short_runs thread "$root/thread"
    unset OMP_TOOL_LIBRARIES TSAN_OPTIONS
}

valgrind_() {
    there valgrind || return
    copy valgrind
    # valgrind does not know AVX-512
    make -C build/sanitize/valgrind -j"$jobs" \
        ARCH="$([ "$(uname -m)" = x86_64 ] && echo haswell || echo none)" CFLAGS='-O1 -g' all \
        > "$root/valgrind.log" 2>&1 ||
        { bad valgrind 'does not build, see build/sanitize/valgrind.log'; return; }
    short_runs valgrind "$root/valgrind" valgrind -q --error-exitcode=99 --trace-children=no
}

# what TOOL < its messages: as "FILE CHECK", those that tests/analyse.txt does not list
news() {
    sed -n "s#^\(\./\|$PWD/\)*\([a-z_0-9/]*\.[ch]\):[0-9]*:.*\(warning\|error\): .*\
\[\(-W\)*\([A-Za-z0-9.-]*\)[],].*#\2 \5#p" | sort -u > "$root/found"
    sed -n 's/^\([a-z_0-9/]*\.[ch]\): \([^:]*\): .*/\1 \2/p' tests/analyse.txt | sort -u > "$root/known"
    comm -23 "$root/found" "$root/known" > "$root/$1.new"
    if [ -s "$root/$1.new" ]; then bad "$1" "$(tr '\n' ';' < "$root/$1.new") see build/sanitize/$1.log"
    else good "$1 ($(wc -l < "$root/found") left for a reason)"; fi
}
analyse() {
    sources=$(find . -name build -prune -o -name tests -prune -o -name bindings -prune -o -name '*.c' -print)
    flags='-std=c11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -I. -Ibuild -Wno-unknown-pragmas'
    # fail() gives false, always: they do not look into another file to see it
    printf '#include "lib/base.h"\n#define fail(...) (fail(__VA_ARGS__), 0)\n' > "$root/analyse.h"
    make build/page_html.h > /dev/null
    for tool in gcc clang-tidy cppcheck; do
        there $tool || continue
        case $tool in
        gcc) printf '%s\n' $sources | grep -v '^./lib/base.c$' |
            xargs -P "$jobs" -I @ gcc $flags -O1 -fanalyzer -include "$root/analyse.h" -c -o /dev/null @ ;;
        clang-tidy) printf '%s\n' $sources | grep -v '^./lib/base.c$' |
            xargs -P "$jobs" -I @ clang-tidy --quiet \
                --checks='-*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.*' @ -- $flags \
                -include "$root/analyse.h" ;;
        cppcheck) cppcheck -q --std=c11 --enable=warning,portability -I. -j "$jobs" \
            --template='{file}:{line}: warning: {message} [{id}]' $sources ;;
        esac > "$root/$tool.log" 2>&1
        news $tool < "$root/$tool.log"
    done
}

for part in "$@"; do
    case $part in
    address | thread | analyse) $part ;;
    valgrind) valgrind_ ;;
    *) echo "sanitize.sh: found \"$part\", expected address, thread, valgrind or analyse" >&2; exit 2 ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
