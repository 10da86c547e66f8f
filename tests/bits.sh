#!/bin/sh
# bits.sh: the same small training (SFT, reward model, GRPO, GRPO of an adapter) and every known answer in
# many builds, and whether all bits are the same. `make bits`; a few minutes on two cores.
#
# A variant is a build in build/bits/NAME with the Makefile's own flags, or a run of such a build with other
# threads or slices. What this machine lacks (a compiler, an instruction set, qemu) is skipped, and the table
# says so. Last comes a variant that is broken on purpose, where the compiler may contract a*b+c: it must be
# found out, or this script proves nothing. The whole table, with full SHA-256, is left in
# build/bits/table.txt.
# Exit code 0: all the same; 1: not, or a variant did not build or run.
#
# Commands can be chosen: GCC CLANG MUSL_GCC AARCH64_GCC QEMU_AARCH64.
# shellcheck disable=SC2086  # compilers, runners and options are lists of words
set -u
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CC CFLAGS ARCH OPENMP
root=$(cd "$(dirname "$0")/.." && pwd)
make=${MAKE:-make} all=$root/build/bits work=$root/build/bits/work table=$root/build/bits/table.txt
gcc=${GCC:-gcc} clang=${CLANG:-clang} musl=${MUSL_GCC:-musl-gcc} \
    aarch64_gcc=${AARCH64_GCC:-aarch64-linux-gnu-gcc} qemu=${QEMU_AARCH64:-qemu-aarch64}
cores=$(getconf _NPROCESSORS_ONLN 2> /dev/null || echo 2)
machine=$(uname -m)
LC_ALL=C OMP_WAIT_POLICY=passive OMP_DYNAMIC=false
export LC_ALL OMP_WAIT_POLICY OMP_DYNAMIC
rows=0 differ='' failed='' skipped='' found_out=''

cd "$root" && rm -rf "$all" && mkdir -p "$work" && : > "$table" || exit 2
if command -v sha256sum > /dev/null; then sha() { sha256sum "$1" | cut -d ' ' -f 1; }
else sha() { shasum -a 256 "$1" | cut -d ' ' -f 1; }; fi

# ---- what is computed ----------------------------------------------------------------------------
# 6e8 multiply-adds in all, for where there is no FMA instruction each is a call of 10 to 30 ns. Grouped
# queries, odd sizes; loops long enough for threads.
build/make_world sft --n 300 --seed 1 > "$work/sft.jsonl" &&
build/make_world grammar --n 40 --seed 101 > "$work/labelled.jsonl" &&
build/make_world prompts --kind rl --n 24 --seed 1003 > "$work/prompts.jsonl" || exit 2
# the known answers, a case a line, as `grpo compute` reads them; kinds that it does not have are left out
./grpo compute --list | grep '^[a-z]' > "$work/kinds"
awk 'NR == FNR { known[$1] = 1; next }
     function out() {
         sub(/,$/, "", l)
         if (match(l, /"kind": *"[^"]*"/)) {
             k = substr(l, RSTART, RLENGTH); gsub(/"kind"|[": ]/, "", k)
             if (k in known) print l
         }
         l = ""
     }
     /^ "cases"/ { on = 1; next } /^ \]/ { on = 0 } !on { next }
     /^  \{/ { out() } { l = l $0 }
     END { out() }' "$work/kinds" tests/data/known_answers.json > "$work/cases.jsonl"

# chain DIR SLICE COMMAND...: the training in DIR; prints "stage SHA-256" lines, or nothing more from the
# command that failed on
chain() (
    rm -rf "$1" && mkdir -p "$1" && cd "$1" || exit 1
    slice=$2; shift 2
    common="--per-device-train-batch-size 8 --slice-rows $slice"
    # the last line, what it cost, has the memory of slices
    steps() { grep -v '"cost"' "$1/log.jsonl" > steps && sha steps; }
    weights() { "$@" | sed -n 's/^  weights //p'; }
    "$@" init --tokenizer-data ../sft.jsonl --output-dir base --vocab-size 450 --hidden-size 36 \
        --num-hidden-layers 2 --num-attention-heads 4 --num-key-value-heads 2 --head-dim 10 \
        --intermediate-size 72 > out 2> err || exit 1
    "$@" sft --model base --dataset ../sft.jsonl --output-dir sft --max-steps 4 --learning-rate 1e-2 \
        --lr-scheduler-type cosine --warmup-steps 1 --weight-decay 0.05 $common > out 2> err || exit 1
    echo "sft.weights $(weights "$@" info --model sft/final)"; echo "sft.log $(steps sft)"
    "$@" reward --model sft/final --dataset ../labelled.jsonl --output-dir reward --max-steps 3 \
        --learning-rate 3e-3 --eval-split 0.25 $common > out 2> err || exit 1
    echo "reward.weights $(weights "$@" info --model reward/final)"; echo "reward.log $(steps reward)"
    "$@" train --model sft/final --reward-model reward/final --dataset ../prompts.jsonl --output-dir grpo \
        --max-steps 4 --num-iterations 2 --num-generations 4 --max-completion-length 16 --temperature 0.9 \
        --top-p 0.95 --beta 0.05 --entropy-coef 0.01 --learning-rate 3e-3 $common > out 2> err || exit 1
    echo "grpo.weights $(weights "$@" info --model grpo/final)"; echo "grpo.log $(steps grpo)"
    "$@" train --model sft/final --reward-model reward/final --dataset ../prompts.jsonl --output-dir lora \
        --max-steps 3 --num-generations 4 --max-completion-length 16 --use-peft --lora-r 3 \
        --lora-target-modules all-linear --beta 0.05 --loss-type grpo --learning-rate 1e-2 $common \
        > out 2> err || exit 1
    echo "lora.weights $(weights "$@" info --model lora/final)"; echo "lora.log $(steps lora)"
    "$@" compute < ../cases.jsonl > answers 2> err || exit 1
    [ "$(wc -l < answers)" -eq "$(wc -l < ../cases.jsonl)" ] || exit 1
    echo "equations $(sha answers)"
)

# ---- the table ------------------------------------------------------------------------------------
short() { sed -n "s/^$1 \(............\).*/\1/p" "$2"; }
show() { printf '%-6s %-40s %-12s %-12s %-12s %-12s %-12s %-12s %-12s %-12s %-12s %s\n' "$@"; }
skip() { show '' "$1" "skipped: $2" '' '' '' '' '' '' '' '' ''; skipped="$skipped; $1: $2"; }
fault() { show "$1" "$2" "FAILED: $3" '' '' '' '' '' '' '' '' ''; failed="$failed; $1 $2"; }

# row REAL NAME: what work/now.REAL holds, as a row. The first of each precision is what the others are held
# against.
row() {
    now=$work/now.$1
    [ "$(grep -c '^[a-z.]* [0-9a-f]\{64\}$' "$now")" -eq 9 ] || {
        fault "$1" "$2" "$(tail -n 1 "$work/run.$1/err" 2> /dev/null)"
        return
    }
    [ -f "$work/$1" ] || cp "$now" "$work/$1"
    verdict=same
    while read -r stage value; do
        printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$stage" "$value" >> "$table"
        [ "$verdict" != same ] || [ "$value" = "$(sed -n "s/^$stage //p" "$work/$1")" ] ||
            verdict="differs from $stage on"
    done < "$now"
    rows=$((rows + 1))
    show "$1" "$2" "$(short sft.weights "$now")" "$(short sft.log "$now")" \
        "$(short reward.weights "$now")" "$(short reward.log "$now")" \
        "$(short grpo.weights "$now")" "$(short grpo.log "$now")" \
        "$(short lora.weights "$now")" "$(short lora.log "$now")" "$(short equations "$now")" "$verdict"
    [ "$verdict" = same ] || differ="$differ; $1 $2 ($verdict)"
}

# run NAME SLICE THREADS DIR [RUNNER...]: grpo and grpo64 of DIR, side by side: two rows
run() {
    name=$1 slice=$2 OMP_NUM_THREADS=$3 programs=$4; shift 4
    export OMP_NUM_THREADS
    chain "$work/run.float" "$slice" "$@" "$programs/grpo" > "$work/now.float" &
    chain "$work/run.double" "$slice" "$@" "$programs/grpo64" > "$work/now.double"
    wait
    row float "$name"
    row double "$name"
}

# build DIR COMPILER CFLAGS ARCH OPENMP [MAKE ARGUMENT...]: both programs in build/bits/DIR, from links to the
# sources
build() {
    into=$all/$1 build_cc=$2 build_flags=$3 build_arch=$4 build_openmp=$5; shift 5
    mkdir -p "$into"
    for f in *; do
        case $f in
            build | runs | models | grpo | grpo64 | grpo-debug) ;;
            *) ln -sfn "../../../$f" "$into/$f" ;;
        esac
    done
    $make -C "$into" -j "$cores" CC="$build_cc" CFLAGS="$build_flags" ARCH="$build_arch" \
        OPENMP="$build_openmp" announce "$@" > "$into/make.log" 2>&1
}

have() { command -v "$1" > /dev/null; }
compiler() { one=${1#ccache }; echo "${one%% *}"; }             # the command alone
cpu() {
    grep -qw "$1" /proc/cpuinfo 2> /dev/null ||
        sysctl -n machdep.cpu.leaf7_features 2> /dev/null | grep -qiw "$1"
}

# variant NAME DIR COMPILER CFLAGS ARCH OPENMP THREADS [RUNNER]: builds and runs in both precisions
variant() {
    title=$1 dir=$2
    if ! have "$(compiler "$3")"; then skip "$title" "there is no $(compiler "$3")"; return; fi
    if ! build "$2" "$3" "$4" "$5" "$6" grpo grpo64; then
        fault '' "$title" "$(grep -m 1 -i error "$all/$dir/make.log"); see build/bits/$dir/make.log"
        return
    fi
    [ "$6" = no ] || grep -q 'OpenMP: yes' "$all/$dir/make.log" || title="$title (this one has none)"
    run "$title" 1024 "$7" "$all/$dir" ${8-}
}

show '' '' sft.weights sft.log reward.weights reward.log grpo.weights grpo.log lora.weights lora.log \
    equations ''
for threads in 1 2 3 8; do run "as built here, threads: $threads" 1024 $threads "$root"; done
for slice in 113 300; do run "as built here, slices of $slice rows" $slice 2 "$root"; done
variant 'gcc -O3 native, no OpenMP'   gcc-noomp   "$gcc"   -O3 native no 1
variant 'gcc -O0 native, no OpenMP'   gcc-O0      "$gcc"   -O0 native no 1
variant 'clang -O3 native, OpenMP'    clang-O3    "$clang" -O3 native auto 2
variant 'clang -O0 native, no OpenMP' clang-O0    "$clang" -O0 native no 1
case $machine in
x86_64 | amd64)
    if cpu avx2; then variant 'gcc -O2 haswell (AVX2), OpenMP' gcc-O2 "$gcc" -O2 haswell auto 2
    else skip 'gcc -O2 haswell (AVX2), OpenMP' 'this machine has no AVX2'; fi
    if cpu avx512f && cpu avx512vl && cpu avx512dq && cpu avx512bw; then
        variant 'gcc -O3 x86-64-v4 (AVX-512), OpenMP' gcc-avx512 "$gcc" -O3 x86-64-v4 auto 2
    else skip 'gcc -O3 x86-64-v4 (AVX-512), OpenMP' 'this machine has no AVX-512'; fi
    variant 'gcc -O3 x86-64, no FMA instruction' gcc-none "$gcc" -O3 none auto 2
    # glibc's fma uses the instruction where the CPU has it; told not to, it computes in integers
    [ -x "$all/gcc-none/grpo" ] && run 'the same, fma in integers (glibc)' 1024 1 "$all/gcc-none" \
        env GLIBC_TUNABLES=glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX2_Usable
    variant 'clang -O2 x86-64, no FMA instruction' clang-none "$clang" -O2 none no 1
    variant 'musl-gcc -O2 x86-64, another libc' musl "$musl" '-O2 -static' none no 1 ;;
*) skip 'x86-64' "this machine is $machine" ;;
esac
case $machine in
aarch64 | arm64) skip 'AArch64 under qemu' 'this machine is one' ;;
*) if have "$qemu"; then
       variant 'gcc -O3 AArch64, OpenMP, qemu' aarch64-O3 "$aarch64_gcc" '-O3 -static' native auto 2 "$qemu"
       if have "$(compiler "$aarch64_gcc")"; then
           variant 'clang -O2 AArch64, no OpenMP, qemu' aarch64-clang \
               "$clang --target=aarch64-linux-gnu" '-O2 -static' native no 1 "$qemu"
       else
           skip 'clang -O2 AArch64, no OpenMP, qemu' "there is no $(compiler "$aarch64_gcc") with its libc"
       fi
   else skip 'AArch64 under qemu' "there is no $qemu"; fi ;;
esac

# ---- what must not pass ----------------------------------------------------------------------------
sound=$differ good_rows=$rows
title='broken on purpose: -ffp-contract=fast'
if have "$(compiler "$gcc")" &&
    build broken "$gcc" -O2 native no grpo grpo64 \
        FIXED='-std=c11 -D_POSIX_C_SOURCE=200809L -ffp-contract=fast' &&
    grep -q 'fused multiply-add: yes' "$all/broken/make.log"
then
    run "$title" 1024 1 "$all/broken"
    case ${differ#"$sound"} in *'float broken'*'double broken'*) found_out=yes ;; esac
else skip "$title" 'it needs gcc and an FMA instruction'; found_out=skipped; fi
differ=$sound

# ---- the verdict ------------------------------------------------------------------------------------
for real in float double; do
    [ -f "$work/$real" ] && sed "s/^/$real: SHA-256 of /" "$work/$real"
done
[ -n "$skipped" ] && echo "not tried: ${skipped#; }"
if [ -z "$differ$failed" ] && [ -n "$found_out" ] && [ "$good_rows" -gt 1 ]; then
    echo "all $good_rows variants give the same bits$(
        [ $found_out = yes ] && echo '; the one broken on purpose does not')"
    exit 0
fi
[ -n "$differ" ] && echo "NOT the same bits: ${differ#; }"
[ -n "$failed" ] && echo "did not build or run: ${failed#; }"
[ -n "$found_out" ] || echo "NOT trustworthy: the variant that was broken on purpose was not found out"
exit 1
