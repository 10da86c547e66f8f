#!/bin/sh
# test_data.sh: the shapes of data sets that people bring: what is read, what is refused and with which
# command, and what that command writes. Run from the project's root by `make test`.
. tests/commands.sh
$world sft --n 300 --seed 1 > words.jsonl
works init "$grpo" init --tokenizer-data words.jsonl --output-dir base --hidden-size 16 \
    --num-hidden-layers 1 --num-attention-heads 2 --intermediate-size 32 --vocab-size 420
one='--model base --max-steps 1 --per-device-train-batch-size 2'
# learns COMMAND FILE FOLDER: one step of it
learns() { works "$1 on $2" "$grpo" "$1" $one --dataset "$2" --output-dir "$3"; }
# converts PATTERN COMMAND FILE: it is refused with such a line, whose end is a command; what that writes is
# read
converts() {
    refuses "$1" "$grpo" "$2" $one --dataset "$3" --output-dir no
    command=$(sed -n 's/.*: \(\(jq\|python3\|iconv\|gzip\) .*\)$/\1/p' "$err") tool=${command%% *}
    if [ -z "$command" ]; then bad "$3: no command in: $(cat "$err")"; return; fi
    if ! command -v "$tool" > /dev/null; then echo "SKIPPED: $3: there is no $tool"; return; fi
    rm -rf converted.jsonl x
    if sh -c "$command" 2> "$err"; then learns "$2" converted.jsonl x
    else bad "$3: $command: $(cat "$err")"; fi
}

# ---- what is read ----------------------------------------------------------------------------------
q='{"role":"user","content":"how do i fix the car?"}'
a='{"role":"assistant","content":"first, look."}' b='{"role":"assistant","content":"no."}'
text='how do i fix the car?'
for n in 1 2 3 4; do
    echo "{\"prompt\":\"$text\",\"completion\":\"first, look.\"}" >> plain.jsonl
    echo "{\"prompt\":\"$text\",\"prompt_id\":\"$n\",\"messages\":[$q,$a]}" >> both.jsonl
    echo "{\"prompt\":\"$text\",\"chosen\":\"first, look.\",\"rejected\":\"no.\"}" >> pairs.jsonl
    echo "{\"prompt\":\"$text\",\"chosen\":[$q,$a],\"rejected\":[$q,$b],\"messages\":[$q,$a]}" \
        >> conversations.jsonl
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
echo "{\"prompt\":[{\"role\":\"system\",\"content\":\"be kind\"},$q],\"chosen\":[$q,$a],\"rejected\":[$q,"\
"$b]}" > other.jsonl
refuses '*other.jsonl:1: the prompt has 2 turns, but chosen and rejected share 1*' "$grpo" dpo $one \
    --output-dir no --dataset other.jsonl
echo "{\"chosen\":[$a,$q],\"rejected\":[$a,$q]}" > user.jsonl
refuses '*user.jsonl:1: chosen and rejected end with the roles "user" and "user"*' "$grpo" dpo $one \
    --output-dir no --dataset user.jsonl
echo '{"prompt":"a","rejected":[{"role":"user","content":"b"}]}' > alone.jsonl
refuses '*alone.jsonl:1: no "chosen": expected a pair of replies*' "$grpo" dpo $one --output-dir no \
    --dataset alone.jsonl
echo '{"prompt":"a","chosen":"yes","rejected":[{"role":"user","content":"b"},{"role":"assistant",'\
'"content":"no"}]}' > mixed.jsonl
refuses '*mixed.jsonl:1:*: rejected: found array, expected a text or a list of one assistant message' \
    "$grpo" dpo $one --output-dir no --dataset mixed.jsonl
# what a command does without may have any shape
echo "{\"prompt\":\"$text\",\"chosen\":{\"from\":\"gpt\"},\"completion\":[1,2]}" > odd.jsonl
works 'columns that are not read' "$grpo" sample --model base --dataset odd.jsonl --max-completion-length 4
# the reply that sample wrote, and not the one that the data had, is scored
echo "{\"messages\":[$q,$a]}" > talk.jsonl
works 'sample of messages' "$grpo" sample --model base --dataset talk.jsonl --max-completion-length 4 \
    --output sampled.jsonl
seen='i=0; while read -r l; do
    echo "$l" > seen; echo "{\"id\":$i,\"scores\":{\"a\":1}}"; i=$((i + 1))
done'
works 'score of samples of messages' "$grpo" score --dataset sampled.jsonl --reward-cmd "$seen"
if grep -q '"completion":"first, look."' seen; then bad "the data's reply was scored: $(cat seen)"
else good; fi
# a byte order mark is no text
printf '\357\273\277how do i fix the car?\r\nhi\r\n' > marked.txt
printf 'how do i fix the car?\nhi\n' > unmarked.txt
for f in marked unmarked; do
    works "sample of $f.txt" "$grpo" sample --model base --dataset $f.txt --max-completion-length 4 \
        --output $f.jsonl
done
same 'a byte order mark' marked.jsonl unmarked.jsonl
{ printf '\357\273\277'; cat plain.jsonl; } > marked_rows.jsonl
learns sft marked_rows.jsonl marked_rows
same 'a byte order mark before rows' plain/log.jsonl marked_rows/log.jsonl

# ---- what is refused, and what converts it ---------------------------------------------------------
{ echo '['; sed 's/$/,/;$s/,$//' plain.jsonl; echo ']'; } > array.json
converts '*array.json: is a JSON array, expected one object a line: jq *' sft array.json
printf '{\n "prompt": "hi",\n "completion": "ho"\n}\n{\n "prompt": "hi",\n "completion": "ho"\n}\n' \
    > wide.json
converts '*wide.json: has JSON over several lines*' sft wide.json
printf '\357\273\277prompt,completion\nhi,"ho, ho"\nhi,"ho\nho"\n' > table.csv
converts '*table.csv: is a table with commas, expected JSON Lines: python3 *' sft table.csv
printf 'prompt\tcompletion\nhi\tho\nhi\tho\n' > table.tsv
converts '*table.tsv: is a table with tabs*' sft table.tsv
printf 'PAR1....PAR1' > table.parquet
refuses "*table.parquet: is Parquet, expected JSON Lines: python3 -c 'import json, pyarrow.parquet as p; *' "\
"> converted.jsonl" "$grpo" sft $one --output-dir no --dataset table.parquet
printf '\377\376{\0"\0a\0"\0:\0001\0}\0\n\0' > wide.jsonl
refuses "*wide.jsonl: is UTF-16, expected UTF-8: iconv -f UTF-16 -t UTF-8 'wide.jsonl' > converted.jsonl" \
    "$grpo" sft $one --output-dir no --dataset wide.jsonl
printf '\037\213\010' > rows.jsonl.gz
refuses "*rows.jsonl.gz: is compressed*: gzip -dc 'rows.jsonl.gz' > converted.jsonl" "$grpo" sft $one \
    --output-dir no --dataset rows.jsonl.gz
refuses '*someone/some-rows: is no file; if it is a data set of the Hugging Face hub: python3 '\
'*load_dataset("someone/some-rows"*' "$grpo" sft $one --output-dir no --dataset someone/some-rows
printf 'how do I, er, fix it?\nand that?\n' > prompts.list
refuses '*prompts.list: is text, expected JSON Lines; a file of prompts, one a line, has a name that ends '\
'with .txt' "$grpo" sample --model base --dataset prompts.list
printf 'PK\003\004' > book.xlsx
refuses '*book.xlsx: is a zip archive*' "$grpo" sample --model base --dataset book.xlsx
printf '"level","prompt"\n3,"hi"\n' > noname
refuses '*noname: is a table with commas*' "$grpo" sample --model base --dataset noname
# twice LINE FILE: a data set of two rows
twice() { printf '%s\n%s\n' "$1" "$1" > "$2"; }
twice '{"instruction":"add","input":"1 and 2","output":"3"}' alpaca.jsonl
converts '*alpaca.jsonl:1: no "prompt" *; from its other columns: jq *' sft alpaca.jsonl
twice '{"conversations":[{"from":"system","value":"be kind"},{"from":"human","value":"hi"},{"from":"gpt",'\
'"value":"ho"}]}' shared.jsonl
converts '*shared.jsonl:1: no "prompt" *jq *' sft shared.jsonl
twice "{\"dialogue\":[$q,$a]}" dialogue.jsonl
converts '*dialogue.jsonl:1: no "prompt" *jq *' sft dialogue.jsonl
twice '{"question":"hi","answer":"ho"}' asked.jsonl
converts '*asked.jsonl:1: no "prompt" *jq *' sft asked.jsonl
twice '{"prompt":"hi","response":"ho"}' answered.jsonl
converts '*answered.jsonl:1: no "completion" *jq *' sft answered.jsonl
twice '{"chosen":"\n\nHuman: hi\n\nAssistant: ho\n\nHuman: and?\n\nAssistant: yes","rejected":"\n\nHuman: '\
'hi\n\nAssistant: ho\n\nHuman: and?\n\nAssistant: no"}' human.jsonl
converts '*human.jsonl:1: no "prompt" *jq *' dpo human.jsonl
twice '{"conversations":[{"from":"human","value":"hi"}],"chosen":{"from":"gpt","value":"ho"},'\
'"rejected":{"from":"gpt","value":"no"}}' preferred.jsonl
converts '*preferred.jsonl:1: *jq *' dpo preferred.jsonl
twice '{"question":"hi","chosen":"ho","rejected":"no"}' judged.jsonl
converts '*judged.jsonl:1: no "prompt" *jq *' dpo judged.jsonl
# a column's name that a shell would take apart is not put into a command
twice "{\"a';reboot;'\":[{\"from\":\"human\",\"value\":\"hi\"}]}" hostile.jsonl
refuses '*hostile.jsonl:1: no "prompt" (a text or a list of messages) and no "messages"' "$grpo" sft $one \
    --output-dir no --dataset hostile.jsonl

# ---- what the data say is known before the first step ----------------------------------------------
# row TEXT N FILE: N rows with prompt, completion and a pair, the third with TEXT in its prompt
row() {
    awk -v t="$1" -v n="$2" 'BEGIN {
        for (i = 1; i <= n; i++) {
            printf "{\"prompt\":\"hi %d%s\",\"completion\":\"yes.\",", i, i == 3 ? t : ""
            printf "\"chosen\":\"yes.\",\"rejected\":\"no.\",\"labels\":{\"a\":0.%d}}\n", i % 10
        }
    }' > "$3"
}
row '' 8 fine.jsonl
row ' [PAD]' 8 beyond.jsonl
row "$(printf '%0120d' 0 | sed 's/0/ fix/g')" 8 long.jsonl
sed 3d long.jsonl > shorter.jsonl
judge='i=0; while read -r l; do echo "{\"id\":$i,\"scores\":{\"a\":$((i % 3))}}"; i=$((i + 1)); done'
works 'a reward model' "$grpo" reward $one --dataset fine.jsonl --output-dir judge
# a tokenizer that has a token more than its model has rows, as a policy and as a reward model
for m in base judge/final; do
    rm -rf narrow-"${m%/*}"; cp -R $m narrow-"${m%/*}"
    pad='{"id":420,"content":"[PAD]","single_word":false,"lstrip":false,"rstrip":false,'
    sed 's/^ "added_tokens": \[/&'"$pad"'"normalized":false,"special":true},/' $m/tokenizer.json \
        > narrow-"${m%/*}"/tokenizer.json
done
beyond='*beyond.jsonl:3: has token 420 of the tokenizer, but the model*s vocabulary has only 420; *'
of="--model narrow-base --dataset beyond.jsonl"
wants="--max-completion-length 4 --reward-cmd"
for command in sft dpo reward; do refuses "$beyond" "$grpo" $command $of --output-dir no; done
refuses "$beyond" "$grpo" train $of --output-dir no $wants "$judge"
refuses "$beyond" "$grpo" ppo $of --output-dir no $wants "$judge"
refuses "$beyond" "$grpo" sample $of --max-completion-length 4 --output no
refuses "$beyond" "$grpo" pairs $of --output no $wants "$judge"
refuses "$beyond" "$grpo" eval --policies base,narrow-base --dataset beyond.jsonl $wants "$judge"
refuses "$beyond" "$grpo" score --dataset beyond.jsonl --reward-model narrow-judge --output no
refuses "$beyond" "$grpo" train --model base --dataset beyond.jsonl --output-dir no \
    --max-completion-length 4 --reward-model narrow-judge
[ -e no ] && bad 'something was written' || good
# a prompt that is too long
long='*long.jsonl:3: the prompt alone has 245 tokens, expected fewer than --max-length 112; shorten it, or '\
'leave such rows out with --drop-long'
for command in sft dpo reward; do
    refuses "$long" "$grpo" $command $one --dataset long.jsonl --output-dir no
    works "$command --drop-long" "$grpo" $command $one --dataset long.jsonl --drop-long \
        --output-dir dropped-$command
    case $(cat "$err") in
    *"$command: 1 of 8 rows are left out: their prompts have more than 111 tokens (line 3 is the first)"*)
        good ;;
    *) bad "$command --drop-long: $(cat "$err")" ;;
    esac
    works "$command without the row" "$grpo" $command $one --dataset shorter.jsonl \
        --output-dir shorter-$command
    same "$command --drop-long" dropped-$command/log.jsonl shorter-$command/log.jsonl
done
step="--model base --max-steps 1 --num-generations 2 --per-device-train-batch-size 4 "\
"--max-completion-length 4 --reward-cmd"
long='*long.jsonl:3: prompt of 245 tokens and --max-completion-length 4 exceed the context of 112; shorten '\
'one of them'
refuses "$long, or leave such rows out with --drop-long" "$grpo" train --dataset long.jsonl \
    --output-dir no $step "$judge"
works 'train --drop-long' "$grpo" train --dataset long.jsonl --drop-long --output-dir dropped $step "$judge"
works 'train without the row' "$grpo" train --dataset shorter.jsonl --output-dir without $step "$judge"
same 'train --drop-long' dropped/log.jsonl without/log.jsonl
refuses "$long" "$grpo" sample --model base --dataset long.jsonl --max-completion-length 4 --output no \
    --batch 1
refuses "$long" "$grpo" pairs --model base --dataset long.jsonl $wants "$judge" --output no
refuses "$long" "$grpo" eval --policies base --dataset long.jsonl $wants "$judge"
refuses '*nowhere/tokenizer.json: *' "$grpo" eval --policies base,nowhere --dataset fine.jsonl $wants "$judge"
grep -q 'eval  *[0-9]*/' "$err" &&
    bad 'eval: a policy that is not there is found after the first has answered' || good
refuses '*long.jsonl:3: the prompt has 245 tokens, but the context of judge/final holds 112; shorten it' \
    "$grpo" score --dataset long.jsonl --reward-model judge/final --output no
[ -e no ] && bad 'something was written' || good

# numbers that float cannot hold, wherever the data have them
echo '{"prompt":"hi","completion":"ho","reward":1e39,"chosen":"yes","rejected":"no","score_chosen":-1e39,'\
'"score_rejected":0,"scores":{"a":1e39}}' > large.jsonl
sed 's/"chosen".*"scores"/"scores"/' large.jsonl > scored.jsonl
refuses '*scored.jsonl:1: reward: found 1e+39, *' "$grpo" reward --model base --dataset scored.jsonl \
    --loss-type value --output-dir no
refuses '*scored.jsonl:1: reward: found 1e+39, *' "$grpo" pairs --dataset scored.jsonl
refuses '*scored.jsonl:1: scores, weighed: found 1e+39, *' "$grpo" pairs --dataset scored.jsonl \
    --reward-weights a=1
refuses '*large.jsonl:1: score_chosen: found -1e+39, *' "$grpo" dpo --model base --dataset large.jsonl \
    --loss-type flow_db --flow-scores column --output-dir no
# bridged pairs keep the turns that a text beside them leaves out
echo "{\"prompt\":\"and then?\",\"chosen\":[$q,$a,{\"role\":\"user\",\"content\":\"and then?\"},$a],"\
"\"rejected\":[$q,$a,{\"role\":\"user\",\"content\":\"and then?\"},$b]}" > turns.jsonl
works 'bridged conversations' "$grpo" pairs --dataset turns.jsonl \
    --bridge-cmd 'read -r l; echo "{\"id\":0,\"chosen\":\"so.\"}"'
says 'bridged conversations' \
    '*"prompt":?{"role":"user","content":"how do i fix the car?"},*"chosen":"so.","rejected":"no."*'
refuses '*answered line 0 with an empty text*turns.jsonl:1' "$grpo" pairs --dataset turns.jsonl \
    --bridge-cmd 'read -r l; echo "{\"id\":0,\"chosen\":\"\"}"'

# ---- --skip-errors and --limit -----------------------------------------------------------------------
{ echo '{"prompt": "torn'; sed -n 1,2p long.jsonl; echo '{"question":"hi","completion":"ho"}'
    sed -n '3,$p' long.jsonl; } > mixed.jsonl
skipped='*mixed.jsonl:1:*mixed.jsonl:4: no "prompt"*mixed.jsonl:5: *: 3 rows left out, 7 used*'
told() { case $(cat "$err") in $skipped) good ;; *) bad "$1: $(cat "$err")" ;; esac; }
works 'sample --skip-errors' "$grpo" sample --model base --dataset mixed.jsonl --max-completion-length 4 \
    --skip-errors --output sampled-mixed
told 'sample --skip-errors'
works 'sample of the rest' "$grpo" sample --model base --dataset shorter.jsonl --max-completion-length 4 \
    --output sampled-rest
same 'sample --skip-errors' sampled-mixed sampled-rest
works 'score --skip-errors' "$grpo" score --dataset mixed.jsonl --reward-model judge/final --skip-errors \
    --output scored-mixed
told 'score --skip-errors'
works 'score of the rest' "$grpo" score --dataset shorter.jsonl --reward-model judge/final \
    --output scored-rest
same 'score --skip-errors' scored-mixed scored-rest
works 'score --skip-errors --summary' "$grpo" score --dataset mixed.jsonl --reward-model judge/final \
    --skip-errors --summary --json
says 'score --skip-errors --summary' '*"left_out":3}'
works 'eval --skip-errors' "$grpo" eval --policies base --dataset mixed.jsonl --max-completion-length 4 \
    --reward-model judge/final --skip-errors --json
told 'eval --skip-errors'
says 'eval --skip-errors' '*"prompts": 7*"left_out": 3*'
works 'sample --limit' "$grpo" sample --model base --dataset fine.jsonl --max-completion-length 4 --limit 2
[ "$(wc -l < "$out")" -eq 2 ] && good || bad "sample --limit 2: $(wc -l < "$out") rows"
works 'score --limit' "$grpo" score --dataset long.jsonl --reward-model judge/final --limit 2
[ "$(wc -l < "$out")" -eq 2 ] && good || bad "score --limit 2: $(wc -l < "$out") rows"
works 'eval --limit' "$grpo" eval --policies base --dataset long.jsonl --max-completion-length 4 \
    --reward-model judge/final --limit 2 --json
says 'eval --limit' '*"prompts": 2*'
refuses '*--limit: found -1, expected at least 0*' "$grpo" sample --model base --dataset fine.jsonl --limit -1
"$grpo" sample --model base --dataset fine.jsonl --max-completion-length 112 --skip-errors \
    --output no 2> "$err" && bad 'no row can be used' ||
    case $(cat "$err") in
    *'fine.jsonl: none of 8 rows can be used') good ;;
    *) bad "no row can be used: $(cat "$err")" ;;
    esac

# ---- what was written stays --------------------------------------------------------------------------
row '' 200 many.jsonl
ends='i=0; while read -r l; do
    [ $i -lt 150 ] || exit 5; echo "{\"id\":$i,\"scores\":{\"a\":1}}"; i=$((i + 1))
done'
refuses '*the program ended (exit code 5)*; what was written until then is in kept.partial' "$grpo" score \
    --dataset many.jsonl --output kept --reward-cmd "$ends"
[ "$(wc -l < kept.partial)" -eq 128 ] && [ ! -e kept ] && [ ! -e kept.tmp ] && good ||
    bad "what was scored: $(ls kept*), $(wc -l < kept.partial) rows"

# ---- the last batch of an epoch has what is left --------------------------------------------------------
# ten rows of the same lengths in batches of eight: six updates in three epochs, and every row once in each of
# them
row '' 10 ten.jsonl; sed -i.bak 's/hi 10/hi 0/' ten.jsonl
epochs="--model base --dataset ten.jsonl --learning-rate 0 --num-train-epochs 3"
# numbers FILE NAME: of each line of a log
numbers() { sed -n "s/.*\"$2\":\([-0-9.e]*\).*/\1/p" "$1/log.jsonl" | tr '\n' ' '; }
# near NAME "A B ..." "A B ...": the same numbers but for a millionth
near() {
    if echo "$2 $3" | awk '{
        for (i = 1; i <= NF / 2; i++) {
            d = $i - $(i + NF / 2); if (d < 0) d = -d
            if (d > 1e-6 * (1 + $i)) exit 1
        }
        exit NF < 2 || NF % 2
    }'; then good; else bad "$1: $2 and $3"; fi
}
for command in sft dpo reward; do
    case $command in dpo) some='--beta 0.5' ;; *) some= ;; esac
    works "$command: a short batch" "$grpo" $command $epochs $some --per-device-train-batch-size 8 \
        --output-dir eight-$command
    [ "$(numbers eight-$command epoch)" = '0.5 1 1.5 2 2.5 3 ' ] && good ||
        bad "$command: epochs $(numbers eight-$command epoch)"
    works "$command: one batch of all" "$grpo" $command $epochs $some --per-device-train-batch-size 10 \
        --output-dir all-$command
    # means over eight and two are the mean over ten, in each epoch
    mean=$(numbers eight-$command loss |
        awk '{ print 0.8 * $1 + 0.2 * $2, 0.8 * $3 + 0.2 * $4, 0.8 * $5 + 0.2 * $6 }')
    near "$command: every row once in an epoch" "$mean" "$(numbers all-$command loss)"
    works "$command: a batch of more than all" "$grpo" $command $epochs $some \
        --per-device-train-batch-size 32 --output-dir more-$command
    near "$command: a batch of more than all" "$(numbers more-$command grad_norm)" \
        "$(numbers all-$command grad_norm)"
    for size in 4 2; do
        works "$command: micro-batches of $size" "$grpo" $command $epochs $some \
            --per-device-train-batch-size $size --gradient-accumulation-steps $((8 / size)) \
            --output-dir micro-$command-$size
        want='0.8 1 1.8 2 2.8 3 '
        [ $size -eq 2 ] || want='0.6666666666666666 1 1.6666666666666667 2 2.6666666666666665 3 '
        [ "$(numbers micro-$command-$size epoch)" = "$want" ] && good ||
            bad "$command: epochs $(numbers micro-$command-$size epoch)"
        near "$command: micro-batches of $size" "$(numbers micro-$command-$size grad_norm)" \
            "$(numbers eight-$command grad_norm)"
    done
done

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
