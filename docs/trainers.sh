#!/bin/sh
# trainers.sh: prints docs/trainers.md, what each trainer computes, from verify's own table
# (`grpo verify --profiles`, verify/trainers.c). `make trainers` writes the page; tests/test_profiles.sh
# compares it.
set -eu
cd "$(dirname "$0")/.."
cat << 'END'
# What do the trainers compute?

Trainers that say GRPO mean different things. This page has a row for each: whose mean is subtracted from a
reward and which deviation divides it, the ratio and its clip, the KL to the starting policy, what the loss
is divided by, and the correction for a sampler that is not the trainer. The second row has the equations of
docs/equations.md. A trainer whose releases differ has several rows.

`grpo verify --profile NAME` or `NAME-RELEASE` judges a dump as that trainer, and `grpo verify --profiles
--json` prints this page's table with all settings. The rows were written from the public source of each
program; below the table stand the places, and the options that verify reads in the program's own words.
What a row says is a program's default; where a recipe is what people run, the source names it.

END
./grpo verify --profiles --json | awk '
function string(line,    text) {                            # the string of a line of JSON
    text = line
    if (!sub(/^[^:]*: "/, "", text)) return ""
    sub(/",?$/, "", text)
    gsub(/\\"/, "\"", text)
    return text
}
function wrap(text, first, rest,    word, n, i, line) {     # lines of at most 110 columns
    n = split(text, word, " ")
    line = first
    for (i = 1; i <= n; i++) {
        if (length(line) + length(word[i]) > 109) { print line; line = rest }
        line = line (line == first || line == rest ? "" : " ") word[i]
    }
    print line
}
function key(line,    text) { text = line; sub(/^ *"/, "", text); sub(/".*/, "", text); return text }
/^  "name"/ { n++; name[n] = string($0) }
/^  "(since|until|read|source|note)"/ { of[n, key($0)] = string($0) }
/^  "equations"/ { part = "equations"; next }
/^  "settings"/ { part = "settings"; next }
/^  "options"/ { part = "options"; next }
/^  "rules"/ { part = "rules"; next }
/^  [}]/ { part = ""; next }
/^ [}]/ { next }
/^  "(baseline|deviation|ratio|clip|kl|aggregation|correction)"/ {
    if (n == 1) { cell[++cells] = key($0) }
    of[n, key($0)] = string($0)
}
part == "equations" && /": "/ { equation[key($0)] = string($0) }
part == "options" && /^   "/ { option[n] = option[n] (option[n] ? ", " : "") "`" key($0) "`" }
function span(k) {
    return of[k, "since"] (of[k, "since"] == of[k, "until"] ? "" : " to " of[k, "until"])
}
END {
    line = "| trainer |"; rule = "|---|"; numbers = "| |"
    for (i = 1; i <= cells; i++) {
        line = line " " cell[i] " |"
        rule = rule "---|"
        numbers = numbers " " equation[cell[i]] " |"
    }
    print line "\n" rule "\n" numbers
    for (k = 1; k <= n; k++) {
        line = "| " name[k] (of[k, "since"] ? " " span(k) : "") " |"
        for (i = 1; i <= cells; i++) line = line " " of[k, cell[i]] " |"
        print line
    }
    print "\n## Where it stands"
    for (k = 1; k <= n; k++) {
        if (name[k] != name[k - 1]) {
            print "\n### " name[k] "\n"
            wrap("Source: " of[k, "source"] ".", "", "")
            print ""
        }
        wrap((of[k, "since"] ? span(k) ", read" : "Read") ": " of[k, "read"] \
             (of[k, "note"] ? ": " of[k, "note"] : "") ".", "- ", "  ")
        if (option[k] && name[k] != name[k + 1]) {
            print ""
            wrap("Options in its own words: " option[k] ".", "", "")
        }
    }
}'
