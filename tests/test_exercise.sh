#!/bin/sh
# test_exercise.sh: `make exercise`: a line is broken, the check says so with one hint more each time, the
# mended line is recognised, and the project itself stays as it is. And every exercise has its question, its
# hints and its solution; every line of mutants.txt has its place.
root=$PWD
. tests/commands.sh
EXERCISE=$t/work/exercise
export EXERCISE
exercise() { sh "$root/tests/exercise.sh" "$@" > "$out" 2> "$err"; }
# state_of: what git knows of the tree, and when its sources were changed
state_of() {
    (cd "$root" && { git status --porcelain 2> /dev/null; ls -lR ./*.c ./*.h lib tests docs; }) > "$1"
}

state_of "$t/io/before"
exercise start 15
if [ $? -eq 0 ] && ! cmp -s "$root/reward.c" exercise/reward.c; then good
else bad "start: $(cat "$out" "$err")"; fi
case $(cat "$out") in *reward*) bad "start says which: $(cat "$out")" ;; *) good ;; esac
exercise check; code=$?
if [ $code -eq 1 ]; then good; else bad "check of what is broken: exit code $code"; fi
says 'the first hint' '*15 is not repaired yet: test_reward complains.*Hint 1 of 3: *'
exercise check
says 'the second hint' '*Hint 2 of 3: *'
cp "$root/reward.c" exercise/reward.c
exercise check; code=$?
if [ $code -eq 0 ]; then good; else bad "check of what is mended: exit code $code"; fi
says 'repaired' 'Exercise 15 is repaired: *'
echo 'no C' >> exercise/reward.c
exercise check
says 'what does not compile' '*does not compile now*'
refuses 'N: found 400, expected a number from 1 to *' sh "$root/tests/exercise.sh" start 400
state_of "$t/io/after"
same 'the project is as it was' "$t/io/before" "$t/io/after"

cd "$root" || exit 2
n=$(grep -c '^@' tests/mutants.txt)
if [ "$n" -ge 20 ]; then good; else bad "found $n exercises"; fi
i=0
while [ $((i += 1)) -le "$n" ]; do
    title=$(grep "^## $i\. " docs/exercises.md)
    if [ "$(grep -c "^@$i " tests/mutants.txt)" -eq 1 ] &&
        [ "$(grep -c "^$i " tests/exercises.txt)" -eq 3 ] &&
        [ "$title" ] && [ "$(grep "^## $i\. " docs/solutions.md)" = "$title" ]; then good
    else
        bad "exercise $i: a line of mutants.txt, three hints, a question and a solution under the same title"
    fi
done
if sh tests/mutants.sh --check > "$out"; then good; else bad "$(cat "$out")"; fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
