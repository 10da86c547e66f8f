#!/bin/sh
# mutants.sh [PATTERN]: breaks a copy of the code on purpose, once for each line of mutants.txt (those that
# match PATTERN), and sees whether a test turns red; a line for each says which, and the test's first
# complaint. Ends with the survivors: each is a test that is missing. Run by `make mutants`; takes a while.
# mutants.sh --check only looks whether every line still has its place, which is a matter of a second.
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/tests/broken.sh"
export LC_ALL=C
if [ "${1-}" = --check ]; then cd "$here" && exec awk -f tests/mutate.awk tests/mutants.txt; fi
work=$here/build/mutants
copy_to "$work" && cd "$work" || exit 2

killed=0 at=0
: > survivors
grep -v -e '^#' -e '^$' "$here/tests/mutants.txt" | sed 's/^@[0-9]* //' | grep -e "${1:-.}" > list
total=$(wc -l < list)
for f in $(sed 's/: .*//' list | sort -u); do
    is_red "$f" CFLAGS=-O1
    [ $? -eq 1 ] || { echo "$f: its tests are red as it stands: mend them first"; tail -n 5 log; exit 1; }
done
while IFS= read -r line; do
    at=$((at + 1)) file=${line%%: *}
    cp "$file" original
    if printf '%s\n' "$line" | awk -v out=changed -f tests/mutate.awk > log; then
        cp changed "$file"
        is_red "$file" CFLAGS=-O1
        case $? in
        0) verdict="killed by $seen" ;;
        1) verdict='SURVIVES' ;;
        *) verdict='DOES NOT COMPILE' ;;
        esac
        cp original "$file"
    else verdict='NOT ONCE IN ITS FILE'; fi
    case $verdict in killed*) killed=$((killed + 1)) ;; *) echo "$verdict: $line" >> survivors ;; esac
    printf '[%3d/%d] %s  %s   %s\n' "$at" "$total" "$file" \
        "$(printf '%s' "${line#*: }" | cut -c 1-120)" "$verdict"
done < list
cat survivors
echo "$killed mutants killed, $((total - killed)) not"
[ "$killed" -eq "$total" ]
