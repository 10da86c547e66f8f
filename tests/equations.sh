#!/bin/sh
# equations.sh: every equation number of the code heads a paragraph of docs/equations.md and is named by a
# test or by a kind of `grpo compute` that has a known answer; every paragraph's number is in the code, and
# the functions that it names are in the files that it names. docs/derivation.md and the exercises are held to
# the same. Nothing refers to a document that is not shipped. Run by `make equations`.
cd "$(dirname "$0")/.." || exit 2
code=$(find . -path ./build -prune -o -path ./tests -prune -o -name 'unicode.*' -prune -o \
    -name '*.[ch]' -print | sort)
{
    # the kinds that known answers have, one a line
    sed -n 's/.*"kind": *"\([a-z_]*\)".*/kind \1/p' tests/data/known_answers.json | sort -u
    for f in $code; do sed "s|^|code $f |" "$f"; done
    for f in tests/*.c tests/*.h tests/test_*.sh; do sed "s|^|test $f |" "$f"; done
    sed 's|^|page docs/equations.md |' docs/equations.md
    for f in docs/derivation.md docs/exercises.md docs/solutions.md; do sed "s|^|text $f |" "$f"; done
    # MA[T]H so that this line does not find itself; real.h's __FAST_MATH__ is another word
    grep -rnE '(^|[^_A-Za-z])MA[T]H( section|\.md|s?,? [0-9E]|$)' --include='*.[ch]' --include='*.md' \
        --include='*.sh' --include='*.py' --include=Makefile --exclude-dir=build --exclude-dir=.git . |
        sed 's|^|lost |'
} | awk '
    # numbers of a line: E12, and E12 to E17 as all of them (those in between need no paragraph: a range may
    # pass over facts); nor do those of the other methods, E200 to E279
    function numbers(line, found,    n, from, to, i) {
        n = 0
        while (match(line, /[^A-Za-z0-9]E[1-9][0-9]*( to E[1-9][0-9]*)?/)) {
            from = substr(line, RSTART + 2, RLENGTH - 2); to = from + 0
            if (split(from, part, " to E") == 2) to = part[2] + 0
            for (i = from + 0; i <= to; i++) {
                found[++n] = i
                between[n] = (i > from + 0 && i < to) || (i >= 200 && i < 280)
            }
            line = substr(line, RSTART + RLENGTH)
        }
        return n
    }
    function wrong(text) { print text; failed++ }
    # places(PAGE, PLACES): "file: function, function; file: function": all of them are there
    function places(page, list,    place, two, fn, m, f, k, j) {
        m = split(list, place, "; ")
        for (k = 1; k <= m; k++) {
            split(place[k], two, ": "); f = split(two[2], fn, ", ")
            if (!f) wrong(page ": does not end with (file: function)")
            for (j = 1; j <= f; j++)
                if (!((two[1], fn[j]) in has)) wrong(page ": " two[1] " has no function " fn[j])
        }
    }
    $1 == "kind" { known[$2] = 1; next }
    { kind = $1; file = $2; sub(/^[^ ]* [^ ]* ?/, " "); name = file; sub(/^\.\//, "", name) }
    kind == "code" {
        # verify/applied.c: a macro before the name
        rest = $0; if (sub(/^ APPLY\(/, " ", rest)) sub(/\)/, "(", rest)
        for (; match(rest, /[A-Za-z_][A-Za-z0-9_]*\(/); rest = substr(rest, RSTART + RLENGTH))
            has[name, substr(rest, RSTART, RLENGTH - 1)] = 1
        n = numbers($0, e)
        for (i = 1; i <= n; i++) { in_code[e[i]] = name; if (!between[i]) needed[e[i]] = name }
        if (name ~ /^compute\// && match($0, /\{ ?"[a-z_0-9]+"/)) {
            row = substr($0, RSTART + 1, RLENGTH - 2); sub(/^ ?"/, "", row)
        }
        if (name ~ /^compute\// && known[row]) for (i = 1; i <= n; i++) tested[e[i]] = 1
    }
    kind == "test" { n = numbers($0, e); for (i = 1; i <= n; i++) tested[e[i]] = 1 }
    kind == "page" && $0 ~ /^ \*\*E[0-9]/ {
        head = $0; sub(/^ \*\*E/, "", head); sub(/\*\*.*/, "", head); on_page[head + 0] = 1
        where = $0; sub(/.*\(/, "", where); sub(/\).*/, "", where)
        places("E" head, where)
    }
    kind == "text" {
        n = numbers($0, e); for (i = 1; i <= n; i++) if (!between[i]) told[e[i]] = file
        all[file] = all[file] $0
    }
    kind == "lost" { sub(/:[^:]*$/, "", file); wrong(file ": refers to a document that is not shipped") }
    END {
        for (q in needed) if (!(q in on_page))
            wrong("E" q " of " needed[q] ": docs/equations.md has no paragraph")
        for (q in told) if (!(q in on_page))
            wrong("E" q " of " told[q] ": docs/equations.md has no paragraph")
        for (f in all)
            for (rest = all[f]; match(rest, /[a-z_0-9\/]+\.c: [a-z_0-9]+(, [a-z_0-9]+)*/);
                rest = substr(rest, RSTART + RLENGTH)) places(f, substr(rest, RSTART, RLENGTH))
        for (q in on_page) {
            count++
            if (!(q in in_code)) wrong("E" q ": a paragraph, but no line of code has the number")
            if (!(q in tested)) wrong("E" q ": no test names it")
        }
        printf "%d passed, %d failed\n", count, failed
        exit failed > 0
    }'
