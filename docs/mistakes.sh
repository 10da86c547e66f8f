#!/bin/sh
# mistakes.sh: prints docs/mistakes.md, the legend of the names that `grpo verify` gives, from verify's own
# table (`grpo verify --list`, verify/mistakes.c). `make mistakes` writes the page; tests/test_verify.sh
# compares it. Only the headings are written here. A number without a heading is an error, so that no name
# stays unexplained.
set -eu
cd "$(dirname "$0")/.."
cat << 'END'
# The names that verify prints

When `grpo verify` finds numbers that are not ours, it names what the other program did instead. This page
says what each name means, with its formula. A name is a difference, not always a fault. Where the line says
who does so, it is a choice of that program or paper, and verify ends with exit code 3, not 1. It counts as
right where that program is the profile that was declared (docs/trainers.md).

The numbers D1 to D38 stand for the places where programs of this kind are known to differ; the words after
the number say in which way. The last section has the other names: plain mistakes, and settings that are not
those that the dump declares. In brackets stand the equation that is changed (docs/equations.md has its
formula) and the stages of the dump that may come out differently.

`make mistakes` writes this page from the table that `grpo verify --list` prints.
END
{ ./grpo verify --list --json; echo @; ./grpo verify --list; } | awk '
BEGIN {
    split("1 the deviation that divides an advantage|2 a group with only one scored reply|" \
          "3 a missing score|4 a reward network with several labels|5 scaling by the batch|" \
          "6 MO-GRPO, which normalises each label|7 GDPO, which whitens the sum|8 the temperature|" \
          "9 which tokens the loss counts|10 which row predicts a token|11 positions beside padding|" \
          "12 where a reward is read|13 rotary positions|14 a head tied to the embedding|" \
          "15 the KL term|16 what the loss is divided by|17 the ratio when nothing has changed yet|" \
          "18 the weight of CISPO|19 the ratio of a whole reply|20 where PPO puts the score|" \
          "21 masks and whitening in PPO|22 IPO|23 options of DPO|24 the correction for the sampler|" \
          "25 the entropy mask|26 the entropy bonus|27 top-k and top-p in log-probabilities|" \
          "28 the precision of the head|29 AdamW|30 adapters|31 SAW|32 BMC|33 MaxMin|34 DVPO|" \
          "35 GDPO for GFlowNets|36 accumulation that is not the generation|37 accumulated means|" \
          "38 groups without spread", heads, "|")
    for (i in heads) { n = heads[i]; sub(/ .*/, "", n); head[n] = substr(heads[i], length(n) + 2) }
}
function wrap(text,    word, n, i, line) {                  # a list item of at most 110 columns
    n = split(text, word, " ")
    line = "-"
    for (i = 1; i <= n; i++) {
        if (length(line) + 1 + length(word[i]) > 110) { print line; line = " " }
        line = line " " word[i]
    }
    print line
}
function keep(name, text,    n) {
    n = name ~ /^D[0-9]+-/ ? substr(name, 2) + 0 : 0
    if (n && !(n in head)) {
        print "mistakes.sh: " name ": number D" n " has no heading here" > "/dev/stderr"
        bad = 1
    }
    items[n] = items[n] text "\n"
}
function string(line,    text) {                            # the string of a line of JSON
    text = line
    if (!sub(/^[^:]*: "/, "", text)) return ""
    sub(/",?$/, "", text)
    gsub(/\\"/, "\"", text)
    return text
}
!table && /"name":/ { name = string($0) }
!table && /"formula":/ { formula[name] = string($0) }
!table && /"done_by":/ { by[name] = string($0) }
/^@$/ { table = 1; next }
!table || /^name / || /^$/ || /^ / { next }                # below each name: its formula
/^what a dump of a GRPO step cannot hold/ { absent = 1; next }
absent {
    name = $1
    sub(/^[^ ]+ +/, "")
    keep(name, "`" name "` (not in a dump of a GRPO step): " $0 ".")
    next
}
{
    name = $1; equation = $2; stages = $3
    gsub(/,/, ", ", stages)
    sub(/^[^ ]+ +[^ ]+ +[^ ]+ +/, "")
    who = by[name] ? " Done by " by[name] "." : ""
    keep(name, "`" name "` (" equation "; " stages "): " $0 ": `" formula[name] "`." who)
}
END {
    if (bad) exit 1
    for (n = 1; n <= 38; n++) {
        if (items[n] == "") { print "mistakes.sh: no name begins with D" n > "/dev/stderr"; exit 1 }
        print "\n## D" n ": " head[n] "\n"
        many = split(items[n], item, "\n")
        for (i = 1; i < many; i++) wrap(item[i])
    }
    print "\n## Names without a number\n"
    many = split(items[0], item, "\n")
    for (i = 1; i < many; i++) wrap(item[i])
}'
