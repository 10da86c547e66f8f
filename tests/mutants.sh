#!/bin/sh
# mutants.sh [PATTERN]: breaks a copy of the code on purpose, once for each line of mutants.txt (those that match PATTERN), and sees whether a test
# turns red. Ends with the survivors: each is a test that is missing. Run by `make mutants`; takes a while.
here=$(cd "$(dirname "$0")/.." && pwd)
work=$here/build/mutants
rm -rf "$work" && mkdir -p "$work" && cd "$work" || exit 2
for f in "$here"/*; do case ${f##*/} in build | runs | models | grpo | grpo64 | grpo-debug) ;; *) cp -R "$f" . ;; esac; done
export OMP_WAIT_POLICY=passive         # idle threads that spin would make a busy machine slow
limit=$(command -v timeout > /dev/null && echo 'timeout 300')

tests_of() {            # the programs that must see it
    case $1 in
        grpo.c) echo test_grpo test_known_answers ;;
        variants.c) echo test_variants test_grpo test_known_answers ;;
        reward.c) echo test_reward test_known_answers ;;
        baselines/combine.c) echo test_combine test_known_answers ;;
        model.c) echo test_model test_known_answers ;;
        tokenizer.c | text/chat.c) echo test_tokenizer ;;
        lib/optim.c) echo test_optim test_known_answers ;;
        report/*) echo report ;;
        cmd/* | step.c | run/run.c | run/options.c | run/scorer.c | run/speaker.c | run/run_files.c | run/drawing.c | text/data.c) echo commands ;;
        run/trainer.c) echo test_train ;;
        *) n=${1##*/}; echo "test_${n%.c}" ;;
    esac
}
# is_red FILE: whether one of its tests fails; a mutant that does not compile is an error in the list
is_red() {
    for t in $(tests_of "$1"); do
        if [ -f "tests/test_$t.sh" ]; then
            make -s CFLAGS=-O1 grpo grpo64 build/make_world build/demo_table > log 2>&1 || { tail -n 3 log; return 2; }
            $limit sh "tests/test_$t.sh" > log 2>&1 || return 0
            continue
        fi
        make -s CFLAGS=-O1 "build/f64/tests/$t" > log 2>&1 || { tail -n 3 log; return 2; }
        $limit "build/f64/tests/$t" > log 2>&1 || return 0
    done
    return 1
}

killed=0 survived=0
grep -v '^#' "$here/tests/mutants.txt" | grep -e "${1:-.}" > list
for f in $(sed 's/: .*//' list | sort -u); do
    is_red "$f"
    [ $? -eq 1 ] || { echo "$f: its tests are red as it stands: mend them first"; tail -n 5 log; exit 1; }
done
while IFS= read -r line; do
    file=${line%%: *}
    cp "$file" original
    printf '%s\n' "$line" | awk -v file="$file" '
        NR == FNR { sub(/^[^:]*: /, ""); at = index($0, " ==> "); from = substr($0, 1, at - 1); to = substr($0, at + 5); next }
        { p = index($0, from); if (p) { n++; $0 = substr($0, 1, p - 1) to substr($0, p + length(from)) } print > file }
        END { exit n != 1 }' - original || { printf 'not once in its file: %s\n' "$line"; cp original "$file"; survived=$((survived + 1)); continue; }
    is_red "$file"
    case $? in
        0) killed=$((killed + 1)) ;;
        1) survived=$((survived + 1)); printf 'survives: %s\n' "$line" ;;
        *) survived=$((survived + 1)); printf 'does not compile: %s\n' "$line" ;;
    esac
    cp original "$file"
done < list
echo "$killed mutants killed, $survived not"
[ "$survived" -eq 0 ]
