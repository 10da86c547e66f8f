#!/bin/sh
# test_house.sh: what CONTRIBUTING.md promises of the tree: narrow lines, short files, layers that point one
# way, no circles, names of one meaning, a small cmd/, no document that is not shipped. Each finding is a line
# with its place; what to do follows.
cd "$(dirname "$0")/.." || exit 2
LC_ALL=C; export LC_ALL
passed=0 failed=0
files=$(find . \( -name .git -o -path ./build -o -path ./runs -o -path ./models \) -prune -o -type f -print |
    sed 's|^\./||' | sort)
all=$(printf '%s\n' "$files" | grep '\.[ch]$')
code=$(printf '%s\n' "$all" | grep -v '^tests/')

# verdict FINDINGS ADVICE
verdict() {
    if [ -z "$1" ]; then passed=$((passed + 1)); return; fi
    failed=$((failed + 1))
    printf '%s\n  -> %s\n' "$1" "$2"
}

# shellcheck disable=SC2086  # lists of files without blanks
{
lines=$(printf '%s\n' "$files" |
    grep -e '\.[ch]$' -e '\.sh$' -e '\.py$' -e '\.mk$' -e '^Makefile$' -e '^\.ci/')
verdict "$(awk 'length > 110 { printf "%s:%d: %d columns\n", FILENAME, FNR, length }' $lines)" \
    'a line of code has at most 110 columns: break it, a table one field or a few a line'

shown=$(sed -n '/^```python$/,/^```$/p' README.md | sed '1d; $d')
verdict "$([ "$shown" = "$(sed 1d data/reward_example.py)" ] || echo 'README.md: data/reward_example.py')" \
    'README shows data/reward_example.py as it is, but for its first line: copy it there again'

# a top file and its header are one thing to read
verdict "$(awk 'FNR == 1 { f = FILENAME; if (f !~ /\//) sub(/\.[ch]$/, "", f); first[f] = FILENAME }
    { n[f]++ }
    END {
        for (f in n)
            if (n[f] > 950)
                printf "%s: %d lines%s\n", first[f], n[f], first[f] == f ? "" : " with its header"
    }' $all | sort)" \
    'a file has at most 950 lines, a top file with its header: it holds two ideas; give one of them its own '\
'file'

verdict "$(awk '/^static [^=;]*\(/ {
        s = $0; sub(/\(.*/, "", s); sub(/.*[ *]/, "", s)
        if (s !~ /^[A-Za-z_][A-Za-z0-9_]*$/ || (s, FILENAME) in seen) next
        seen[s, FILENAME] = 1; n[s]++; where[s] = where[s] (n[s] > 1 ? ", " : "") FILENAME ":" FNR
    } END { for (s in n) if (n[s] > 1) printf "%s: static %s()\n", where[s], s }' \
    $(printf '%s\n' "$code" | grep '\.c$') | sort)" \
    'a static function has a name of its own: give it a prefix that says whose it is, or, if both do the '\
'same, one place in lib/'

verdict "$(cat $code | wc -c | awk -v cmd="$(cat $(printf '%s\n' "$code" | grep '^cmd/') | wc -c)" '
    cmd > 0.2 * $1 {
        printf "cmd/: %d of %d bytes of C outside of tests, %.1f %%\n", cmd, $1, 100 * cmd / $1
    }')" \
    'cmd/ holds arguments, progress and printing, at most 20 %: what another command could use belongs to '\
'run/, the method to the top files'

# A unit is a .c file with its header. Includes are found as the compiler finds them: beside the file, then
# from the root.
FILES=$files CODE=$code; export FILES CODE
units=$(awk '
    BEGIN { n = split(ENVIRON["CODE"], f, "\n"); for (i = 1; i <= n; i++) there[f[i]] = 1 }
    /^#include "/ {
        to = $2; gsub(/"/, "", to); beside = FILENAME
        if (!sub(/[^\/]*$/, "", beside)) beside = ""
        if ((beside to) in there) to = beside to
        if (to in there) print FILENAME ":" FNR, FILENAME, to
    }' $code)

verdict "$(printf '%s\n' "$units" | awk '
    { a = $2; b = $3; sub(/\.[ch]$/, "", a); sub(/\.[ch]$/, "", b)
      if (a != b && !((a, b) in edge)) { edge[a, b] = $1; out[a]++; in_[b]++; from[++n] = a; to[n] = b } }
    END {
        do {                                # what nothing leads to, or what leads nowhere, is on no circle
            again = 0
            for (i = 1; i <= n; i++)
                if (from[i] != "" && (!in_[from[i]] || !out[to[i]])) {
                    out[from[i]]--; in_[to[i]]--; from[i] = ""; again = 1
                }
        } while (again)
        for (i = 1; i <= n && from[i] == ""; i++) ;
        for (at = from[i]; i <= n && !(at in seen); at = next_) {
            seen[at] = ++step; path[step] = at
            for (k = 1; k <= n && from[k] != at; k++) ;
            next_ = to[k]; place[step] = edge[at, next_]
        }
        for (k = seen[at]; i <= n && k <= step; k++)
            printf "%s: %s includes %s\n", place[k], path[k], k < step ? path[k + 1] : at
    }')" 'these files include each other in a circle: move what both need into a third below them'

layers=$(awk '
    /^## / { on = $0 == "## Layers" }
    on && /^    [a-z]/ { n++; for (i = 1; i <= NF; i++) print $i, n }' CONTRIBUTING.md)
verdict "$(printf '%s\n' "$units" | LAYERS=$layers awk '
    function part(f) { sub(/\/.*/, "", f); sub(/\.[ch]$/, "", f); return f }
    BEGIN {
        n = split(ENVIRON["LAYERS"], l, "\n")
        for (i = 1; i <= n; i++) { split(l[i], two, " "); layer[two[1]] = two[2] }
        n = split(ENVIRON["CODE"], f, "\n")
        for (i = 1; i <= n; i++) if (!(part(f[i]) in layer)) print f[i] ": is in no layer"
    }
    NF == 3 && layer[part($3)] < layer[part($2)] { printf "%s: %s is of a layer above\n", $1, $3 }' | sort)" \
    'includes point down the list of CONTRIBUTING.md, section Layers: pass it as an argument, or move it to '\
'where both may look'

# NAME.md and docs/name.md must be there; of MATH only its authors have a copy
verdict "$(printf '%s\n' "$files" |
    grep -e '\.[chd]$' -e '\.sh$' -e '\.py$' -e '\.md$' -e '\.mk$' -e '\.txt$' -e '^Makefile$' |
    grep -v -e '^tests/test_house\.sh$' | xargs awk '
    BEGIN {
        n = split(ENVIRON["FILES"], f, "\n")
        for (i = 1; i <= n; i++) { there[f[i]] = 1; sub(/.*\//, "", f[i]); there[f[i]] = 1 }
    }
    {
        for (rest = $0;
             match(rest, /docs\/[a-z0-9-]+\.md|[A-Z][A-Z]+\.md|(^|[^A-Za-z_])MATH([^A-Za-z_].*|$)/);
             rest = substr(rest, RSTART + RLENGTH)) {
            name = substr(rest, RSTART, RLENGTH)
            if (!(name in there)) printf "%s:%d: %s\n", FILENAME, FNR, substr(name, 1, 20)
        }
    }')" \
    'the document is not shipped: say it in words, or name the paragraph of docs/ that tells it'
}
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
