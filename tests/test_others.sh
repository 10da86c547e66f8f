#!/bin/sh
# test_others.sh: the page of the nine other methods: every verdict from figures chosen here, as it holds,
# as it does not and as it is open; the small commands on replies. Run from the project's root by
# `make test`.
root=$PWD
. tests/commands.sh
cd "$root" || exit 2
others=build/experiment_others

# report SECTION ARM[/LABEL]=V,V,V[=KL[=DIVERSITY[=FLOPS]]]...: figures by seed of a section's arms: judge's
# labels (all, or all but LABEL, which is 0), KL and diversity by seed
report() {
    awk -v section="$1" -v arms="$(shift; echo "$*")" '
    function list(text) {
        gsub(/(^|,)\./, "&0.", text); gsub(/\.0\./, "0.", text)
        return "{\"by_seed\":[" text "]}"
    }
    function or_ones(text) { return list(text == "" ? "1,1,1" : text) }
    BEGIN {
        n = split(arms, arm, " "); split("politeness meaningfulness actionability safety", label, " ")
        printf "{\"sections\":[{\"name\":\"%s\",\"arms\":[", section
        for (a = 1; a <= n; a++) {
            split(arm[a], p, "="); low = ""; if (split(p[1], two, "/") == 2) { low = two[2]; p[1] = two[1] }
            zero = p[2]; gsub(/[0-9.]+/, "0", zero)
            printf "%s{\"name\":\"%s\",\"seeds\":[1,2,3],\"rows\":{\"all\":{\"n\":9,\"judge\":{",
                (a > 1 ? "," : ""), p[1]
            for (k = 1; k <= 4; k++)
                printf "%s\"%s\":%s", (k > 1 ? "," : ""), label[k], list(label[k] == low ? zero : p[2])
            printf "},\"mean_judge\":%s,\"kl\":%s,\"diversity\":%s}},",
                list(p[2]), or_ones(p[3]), or_ones(p[4])
            printf "\"cost\":{\"measured_flops\":%s,\"cpu_seconds\":1,\"peak_rss_bytes\":1}}",
                (p[5] == "" ? 1 : p[5])
        }
        printf "]}]}\n"
    }' > "$t/report.json"
    echo '{"sections":[]}' > "$t/search.json"
    $others page "$t/report.json" "$t/search.json" "$t" > "$t/page.md" 2> "$t/error.txt" ||
        bad "$1: exit code $?: $(cat "$t/error.txt")"
}
# says NAME HEADING TEXT: the verdict of the method whose heading begins so
says() {
    found=$(awk -v head="## $2" '
        index($0, "## ") == 1 { on = index($0, head) == 1 }
        on && /^\*\*Verdict: / { print }' "$t/page.md")
    case $found in "**Verdict: $3"*) good ;; *) bad "$1: found \"$found\", expected \"$3\"" ;; esac
}

# TDPO: the line of TDPO2 through (KL, score): (40, .7) (10, .69) (5, .6) (1, .55);
# DPO at its beta .1: (20, .68)
line="TDPO2-0.03=.7,.7,.7=40,40,40 TDPO2-0.1=.69,.69,.69=10,10,10 \
TDPO2-0.3=.6,.6,.6=5,5,5 TDPO2-1=.55,.55,.55=1,1,1"
report TDPO DPO-beta-0.03=.6,.6,.6=50,50,50 DPO-beta-0.1=.68,.68,.68=20,20,20 DPO=.6,.6,.6=6,6,6 \
    DPO-beta-1=.5,.5,.5=1,1,1 $line
says "TDPO: nearer, level, nowhere above" TDPO "holds here."
report TDPO DPO-beta-0.03=.6,.6,.6=50,50,50 DPO-beta-0.1=.68,.68,.68=20,20,20 DPO=.69,.69,.69=6,6,6 \
    DPO-beta-1=.5,.5,.5=1,1,1 $line
says "TDPO: DPO above the line at another beta" TDPO "holds at one beta, not as a frontier"
report TDPO DPO-beta-0.03=.6,.6,.6=50,50,50 DPO-beta-0.1=.68,.68,.68=14,20,20 DPO=.6,.6,.6=6,6,6 \
    DPO-beta-1=.5,.5,.5=1,1,1 $line
says "TDPO: KL in one seed 10 of 14" TDPO "does not hold here."
report TDPO DPO-beta-0.1=.68,.68,.68=20,20,20 $line
says "TDPO: an arm that was not run" TDPO "open"

report BMC DPO=.5,.51,.49 control=.5,.5,.51 BC=.52,.53,.52 MC=.5,.52,.5 BMC=.6,.61,.6 \
    near=.5,.51,.49 near-control=.5,.5,.51 near-BC=.52,.53,.52 near-MC=.5,.52,.5 near-BMC=.6,.61,.6
says "BMC: both kinds" BMC "holds here."
report BMC DPO=.5,.51,.49 control=.5,.5,.51 BC=.52,.53,.52 MC=.5,.52,.5 BMC=.6,.61,.6 \
    near=.5,.51,.49 near-control=.7,.7,.71 near-BC=.52,.53,.52 near-MC=.5,.52,.5 near-BMC=.6,.61,.6
says "BMC: the control is better on one kind" BMC "holds here on one of the two kinds"
report BMC DPO=.5,.51,.49 control=.5,.5,.51 BC=.4,.41,.39 MC=.5,.52,.5 BMC=.6,.61,.6 \
    near=.5,.51,.49 near-control=.7,.7,.71 near-BC=.52,.53,.52 near-MC=.5,.52,.5 near-BMC=.6,.61,.6
says "BMC: one half falls" BMC "does not hold here."

# losses of the worst group: DPO .7, fixed .65, adaptive .6
held() {
    for k in 1 2 3; do
        mkdir -p "$t/0.25M/$k/$1/run"
        echo "{\"after\":{\"loss/0\":$2,\"loss/1\":$3,\"accuracy/0\":0.8,\"accuracy/1\":0.6}}" \
            > "$t/0.25M/$k/$1/run/eval.json"
    done
}
held rated 0.4 0.7; held rated-fixed 0.5 0.65; held rated-mean 0.6 0.55
report GR rated=.5,.5,.5 rated-fixed=.5,.5,.5 rated-mean=.5,.5,.5
says "GR: below both" GR "holds here."
held rated-fixed 0.5 0.58
report GR rated=.5,.5,.5 rated-fixed=.5,.5,.5 rated-mean=.5,.5,.5
says "GR: balancing does as well" GR "holds against DPO only"

report FLOW SFT=.4,.4,.4==.9,.9,.9 DPO=.6,.6,.6==.7,.7,.7 DPO-beta-1=.5,.5,.5==.9,.9,.9 \
    flow-10=.59,.6,.61==.76,.75,.76
says "flows: as good and wider" "GDPO: gen" "holds here."
report FLOW SFT=.4,.4,.4==.9,.9,.9 DPO=.6,.6,.6==.7,.7,.7 flow-10=.59,.6,.61==.76,.74,.76
says "flows: .04 wider in one seed" "GDPO: gen" "does not hold here."

report FLOW SFT=.4,.4,.4==.9,.9,.9 DPO=.6,.6,.6==.7,.7,.7 flow-10=.55,.6,.61==.8,.8,.8
says "flows: wider but worse" "GDPO: gen" "does not hold here."

report MAXMIN SFT/safety=.4,.41,.4 one-model/safety=.7,.7,.71 max-min=.6,.6,.61
says "max-min: both groups" MaxMin "holds here."
report MAXMIN SFT=.6,.6,.6 one-model/safety=.7,.7,.71 max-min=.6,.6,.6
says "max-min: the majority no better off than before" MaxMin "does not hold here."

report AIHF stages-100=.5,.5,.51 together-100=.6,.61,.6
says "AIHF: above at 100" AIHF "holds here."
report AIHF stages-100=.5,.5,.51 together-100=.5,.55,.5
says "AIHF: not outside the interval" AIHF "does not hold here."
report AIHF stages-100=.5,.5,.51 direct-100=.6,.61,.6
says "AIHF: the direct form is not the claim" AIHF "open"

report DVPO PPO=.7,.7,.7===100 dvpo-q=.68,.68,.68===70 dvpo-td=.5,.5,.5===70
says "DVPO: cheaper, and within .03" DVPO "holds here."
report DVPO PPO=.7,.7,.7===100 dvpo-q=.68,.68,.68===80 dvpo-td=.5,.5,.5===70
says "DVPO: too dear, or too far" DVPO "does not hold here."

goals="goal-politeness/safety=.6,.6,.6 goal-meaningfulness/politeness=.6,.6,.6 \
goal-actionability/safety=.6,.6,.6 goal-safety/politeness=.6,.6,.6"
report MPO SFT=.3,.3,.3 GRPO-equal=.6,.6,.6 $goals \
    mixture-naive=.4,.4,.4 mixture-given=.56,.57,.6 mixture-worst=.5,.5,.5
says "MPO: both" MPO "holds here."
report MPO SFT=.3,.3,.3 GRPO-equal=.6,.6,.6 $goals \
    mixture-naive=.4,.4,.4 mixture-given=.54,.57,.6 mixture-worst=.5,.5,.5
says "MPO: .06 off in one seed" MPO "(2) holds here, (1) does not"

report COLLAB agent-safety=.6,.6,.6 agent-actionability=.5,.5,.5 best-of-n=.65,.65,.65 collab=.7,.71,.7
says "Collab: above both" Collab "holds here."
report COLLAB agent-safety=.6,.6,.6 agent-actionability=.5,.5,.5 best-of-n=.75,.75,.75 collab=.7,.71,.7
says "Collab: below best-of-n" Collab "does not hold here."
grep -q '^| collab | - | .70 ' "$t/page.md" && good || bad "a table's row"
says "what was not run" DVPO "open: not all of it was run."

# ranks and best: of equal rewards the first
line() { echo "{\"prompt\":\"$1\",\"completion\":\"$2\",\"reward\":$3}"; }
{ line a x 1; line a y 3; line a z 2; line b u 5; line b v 5; } > "$t/replies.jsonl"
[ "$($others ranks 1 2 < "$t/replies.jsonl" | sed 's/.*completion":"\(.\).*/\1/' | tr -d '\n')" = yzuv ] &&
    good || bad "ranks"
{
    line a x 1; line a y 3; line b u 5; line b v 6
    line a z 3; line a w 2; line b s 7; line b t 7
} > "$t/replies.jsonl"
[ "$($others best 2 2 < "$t/replies.jsonl" | sed 's/.*completion":"\(.\).*/\1/' | tr -d '\n')" = ys ] &&
    good || bad "best"
echo '{"prompt":"a","decoded_tokens":100,"completion_length":10}' > "$t/replies.jsonl"
[ "$($others tokens "$t/replies.jsonl")" = 10 ] && good || bad "tokens"
# of five users four are where they belong once the groups' names are exchanged; user 9 has no pairs
echo '{"1":{"group":1},"2":{"group":1},"3":{"group":1},"4":{"group":0},"5":{"group":0},"9":{"group":0}}' \
    > "$t/users.json"
for u in 1 2 3 5; do echo "{\"prompt\":\"a\",\"user\":$u,\"group\":0}"; done > "$t/prefs.jsonl"
echo '{"prompt":"a","user":4,"group":1}' >> "$t/prefs.jsonl"
echo '{"group_0":{"accuracy":0.25},"group_1":{"accuracy":0.75}}' > "$t/held.json"
[ "$($others found "$t/users.json" "$t/prefs.jsonl" "$t/held.json")" = \
    '{"users":0.8000,"accuracy_0":0.7500,"accuracy_1":0.2500}' ] && good ||
    bad "found: $($others found "$t/users.json" "$t/prefs.jsonl" "$t/held.json")"
printf '%s\n' '{"prompt":"a","kl":1,"reward":0.1}' '{"prompt":"a","kl":2,"reward":0.3}' \
    '{"prompt":"b","kl":9,"reward":0.5}' '{"prompt":"b","kl":8,"reward":0.3}' > "$t/replies.jsonl"
[ "$($others coefficient "$t/replies.jsonl")" = 0.200000 ] && good ||
    bad "coefficient: $($others coefficient "$t/replies.jsonl")"
$others best 3 2 < "$t/replies.jsonl" > /dev/null 2>&1
[ $? -eq 2 ] && good || bad "best of another number of replies"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
