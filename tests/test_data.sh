#!/bin/sh
# test_data.sh: the shapes of data sets that people bring: what is read, what is refused and with which command, and what that command writes.
# Run from the project's root by `make test`.
. tests/commands.sh
$world sft --n 300 --seed 1 > words.jsonl
works init "$grpo" init --tokenizer-data words.jsonl --output-dir base --hidden-size 16 --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
one='--model base --max-steps 1 --per-device-train-batch-size 2'
# learns COMMAND FILE FOLDER: one step of it
learns() { works "$1 on $2" "$grpo" "$1" $one --dataset "$2" --output-dir "$3"; }
# converts PATTERN COMMAND FILE: it is refused with such a line, whose end is a command; what that writes is read
converts() {
    refuses "$1" "$grpo" "$2" $one --dataset "$3" --output-dir no
    command=$(sed -n 's/.*: \(\(jq\|python3\|iconv\|gzip\) .*\)$/\1/p' "$err") tool=${command%% *}
    if [ -z "$command" ]; then bad "$3: no command in: $(cat "$err")"; return; fi
    if ! command -v "$tool" > /dev/null; then echo "SKIPPED: $3: there is no $tool"; return; fi
    rm -rf converted.jsonl x
    if sh -c "$command" 2> "$err"; then learns "$2" converted.jsonl x; else bad "$3: $command: $(cat "$err")"; fi
}

# ---- what is read ----------------------------------------------------------------------------------
q='{"role":"user","content":"how do i fix the car?"}' a='{"role":"assistant","content":"first, look."}' b='{"role":"assistant","content":"no."}'
text='how do i fix the car?'
for n in 1 2 3 4; do
    echo "{\"prompt\":\"$text\",\"completion\":\"first, look.\"}" >> plain.jsonl
    echo "{\"prompt\":\"$text\",\"prompt_id\":\"$n\",\"messages\":[$q,$a]}" >> both.jsonl
    echo "{\"prompt\":\"$text\",\"chosen\":\"first, look.\",\"rejected\":\"no.\"}" >> pairs.jsonl
    echo "{\"prompt\":\"$text\",\"chosen\":[$q,$a],\"rejected\":[$q,$b],\"messages\":[$q,$a]}" >> conversations.jsonl
    echo "{\"prompt\":[$q],\"chosen\":[$q,$a],\"rejected\":[$q,$b]}" >> repeated.jsonl
done
learns sft plain.jsonl plain
learns sft both.jsonl both
same 'messages beside their first text' plain/log.jsonl both/log.jsonl
learns dpo pairs.jsonl pairs
for shape in conversations repeated; do
    learns dpo $shape.jsonl $shape
    same "dpo: $shape" pairs/log.jsonl $shape/log.jsonl
done
reward="$one --loss-type bradley_terry"
works 'reward of pairs' "$grpo" reward $reward --dataset pairs.jsonl --output-dir paired
works 'reward of conversations' "$grpo" reward $reward --dataset conversations.jsonl --output-dir spoken
same 'reward: conversations' paired/log.jsonl spoken/log.jsonl
echo "{\"prompt\":[{\"role\":\"system\",\"content\":\"be kind\"},$q],\"chosen\":[$q,$a],\"rejected\":[$q,$b]}" > other.jsonl
refuses '*other.jsonl:1: the prompt has 2 turns, but chosen and rejected share 1*' "$grpo" dpo $one --output-dir no --dataset other.jsonl
echo "{\"chosen\":[$a,$q],\"rejected\":[$a,$q]}" > user.jsonl
refuses '*user.jsonl:1: chosen and rejected end with the roles "user" and "user"*' "$grpo" dpo $one --output-dir no --dataset user.jsonl
# what a command does without may have any shape
echo "{\"prompt\":\"$text\",\"chosen\":{\"from\":\"gpt\"},\"completion\":[1,2]}" > odd.jsonl
works 'columns that are not read' "$grpo" sample --model base --dataset odd.jsonl --max-completion-length 4
# the reply that sample wrote, and not the one that the data had, is scored
echo "{\"messages\":[$q,$a]}" > talk.jsonl
works 'sample of messages' "$grpo" sample --model base --dataset talk.jsonl --max-completion-length 4 --output sampled.jsonl
works 'score of samples of messages' "$grpo" score --dataset sampled.jsonl --reward-cmd 'i=0; while read -r l; do echo "$l" > seen; echo "{\"id\":$i,\"scores\":{\"a\":1}}"; i=$((i + 1)); done'
if grep -q '"completion":"first, look."' seen; then bad "the data's reply was scored: $(cat seen)"; else good; fi
# a byte order mark is no text
printf '\357\273\277how do i fix the car?\r\nhi\r\n' > marked.txt; printf 'how do i fix the car?\nhi\n' > unmarked.txt
for f in marked unmarked; do works "sample of $f.txt" "$grpo" sample --model base --dataset $f.txt --max-completion-length 4 --output $f.jsonl; done
same 'a byte order mark' marked.jsonl unmarked.jsonl
{ printf '\357\273\277'; cat plain.jsonl; } > marked_rows.jsonl
learns sft marked_rows.jsonl marked_rows
same 'a byte order mark before rows' plain/log.jsonl marked_rows/log.jsonl

# ---- what is refused, and what converts it ---------------------------------------------------------
{ echo '['; sed 's/$/,/;$s/,$//' plain.jsonl; echo ']'; } > array.json
converts '*array.json: is a JSON array, expected one object a line: jq *' sft array.json
printf '{\n "prompt": "hi",\n "completion": "ho"\n}\n{\n "prompt": "hi",\n "completion": "ho"\n}\n' > wide.json
converts '*wide.json: has JSON over several lines*' sft wide.json
printf '\357\273\277prompt,completion\nhi,"ho, ho"\nhi,"ho\nho"\n' > table.csv
converts '*table.csv: is a table with commas, expected JSON Lines: python3 *' sft table.csv
printf 'prompt\tcompletion\nhi\tho\nhi\tho\n' > table.tsv
converts '*table.tsv: is a table with tabs*' sft table.tsv
printf 'PAR1....PAR1' > table.parquet
refuses "*table.parquet: is Parquet, expected JSON Lines: python3 -c 'import json, pyarrow.parquet as p; *' > converted.jsonl" "$grpo" sft $one --output-dir no --dataset table.parquet
printf '\377\376{\0"\0a\0"\0:\0001\0}\0\n\0' > wide.jsonl
refuses "*wide.jsonl: is UTF-16, expected UTF-8: iconv -f UTF-16 -t UTF-8 'wide.jsonl' > converted.jsonl" "$grpo" sft $one --output-dir no --dataset wide.jsonl
printf '\037\213\010' > rows.jsonl.gz
refuses "*rows.jsonl.gz: is compressed*: gzip -dc 'rows.jsonl.gz' > converted.jsonl" "$grpo" sft $one --output-dir no --dataset rows.jsonl.gz
refuses '*someone/some-rows: is no file; if it is a data set of the Hugging Face hub: python3 *load_dataset("someone/some-rows"*' "$grpo" sft $one --output-dir no --dataset someone/some-rows
# twice LINE FILE: a data set of two rows
twice() { printf '%s\n%s\n' "$1" "$1" > "$2"; }
twice '{"instruction":"add","input":"1 and 2","output":"3"}' alpaca.jsonl
converts '*alpaca.jsonl:1: no "prompt" *; from its other columns: jq *' sft alpaca.jsonl
twice '{"conversations":[{"from":"system","value":"be kind"},{"from":"human","value":"hi"},{"from":"gpt","value":"ho"}]}' shared.jsonl
converts '*shared.jsonl:1: no "prompt" *jq *' sft shared.jsonl
twice "{\"dialogue\":[$q,$a]}" dialogue.jsonl
converts '*dialogue.jsonl:1: no "prompt" *jq *' sft dialogue.jsonl
twice '{"question":"hi","answer":"ho"}' asked.jsonl
converts '*asked.jsonl:1: no "prompt" *jq *' sft asked.jsonl
twice '{"prompt":"hi","response":"ho"}' answered.jsonl
converts '*answered.jsonl:1: no "completion" *jq *' sft answered.jsonl
twice '{"chosen":"\n\nHuman: hi\n\nAssistant: ho\n\nHuman: and?\n\nAssistant: yes","rejected":"\n\nHuman: hi\n\nAssistant: ho\n\nHuman: and?\n\nAssistant: no"}' human.jsonl
converts '*human.jsonl:1: no "prompt" *jq *' dpo human.jsonl
twice '{"conversations":[{"from":"human","value":"hi"}],"chosen":{"from":"gpt","value":"ho"},"rejected":{"from":"gpt","value":"no"}}' preferred.jsonl
converts '*preferred.jsonl:1: *jq *' dpo preferred.jsonl
twice '{"question":"hi","chosen":"ho","rejected":"no"}' judged.jsonl
converts '*judged.jsonl:1: no "prompt" *jq *' dpo judged.jsonl
# a column's name that a shell would take apart is not put into a command
twice "{\"a';reboot;'\":[{\"from\":\"human\",\"value\":\"hi\"}]}" hostile.jsonl
refuses '*hostile.jsonl:1: no "prompt" (a text or a list of messages) and no "messages"' "$grpo" sft $one --output-dir no --dataset hostile.jsonl

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
