#!/bin/sh
# exercise.sh start N: breaks one line in a copy of the project and does not say which. exercise.sh check:
# whether it is repaired; if not, one hint more each time. The copy is build/exercise (or $EXERCISE); nothing
# else is written. Run by `make exercise N=7` and `make exercise-check`; the questions are in
# docs/exercises.md.
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tests/broken.sh"
folder=${EXERCISE:-$here/build/exercise} state=.exercise
export LC_ALL=C

case ${1-} in
start)
    line=$(grep "^@${2:-none} " "$here/tests/mutants.txt") || {
        echo "N: found ${2-}, expected a number from 1 to $(grep -c '^@' "$here/tests/mutants.txt"), \
as in docs/exercises.md" >&2
        exit 2
    }
    copy_to "$folder" && cd "$folder" || exit 2
    # what is built already need not be built again
    mkdir build && for f in f32 f64 flags; do [ ! -e "$here/build/$f" ] || cp -Rp "$here/build/$f" build; done
    file=${line#@* } && file=${file%%: *}
    printf '%s\n' "$line" | awk -v out=changed -f tests/mutate.awk > "$state" || { cat "$state"; exit 2; }
    cp changed "$file" && rm changed
    printf '%s\n%s\n0\n' "$2" "$file" > "$state"
    echo "Exercise $2 is in $folder: one line is broken there. Its question is number $2 of \
docs/exercises.md; build with make grpo in that folder, and ask make exercise-check." ;;
check)
    cd "$folder" 2> /dev/null && [ -f "$state" ] || {
        echo 'exercise: there is none; start one with make exercise N=1' >&2
        exit 2
    }
    { read -r n; read -r file; read -r told; } < "$state"
    is_red "$file"
    case $? in
    1)
        echo "Exercise $n is repaired: $(tests_of "$file") agree. docs/solutions.md tells more about it."
        exit 0 ;;
    2) echo "Exercise $n does not compile now."; exit 1 ;;
    esac
    total=$(grep -c "^$n " "$here/tests/exercises.txt")
    [ "$told" -ge "$total" ] || told=$((told + 1))
    printf '%s\n%s\n%s\n' "$n" "$file" "$told" > "$state"
    echo "Exercise $n is not repaired yet: ${seen%%:*} complains."
    echo "Hint $told of $total: $(grep "^$n " "$here/tests/exercises.txt" | sed -n "${told}s/^[0-9]* //p")"
    exit 1 ;;
*) echo 'usage: exercise.sh start N | check' >&2; exit 2 ;;
esac
