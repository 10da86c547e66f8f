# shellcheck shell=sh disable=SC2154
# stages.sh: stages that are kept, for data/demo.sh and experiment/real.sh, which set `runs`, their folder,
# and `table`, build/demo_table.
#
# A stage is a folder $runs/NAME-HASH, where HASH is over its inputs: the recipe's part, the stages before it,
# and the programs that compute it. One that is complete is not made again; nothing is ever overwritten.

digest() { "$table" hash "$@" | cut -c 1-12; }      # of the contents of files, and of words that are no files

# stage NAME HASH [FILE]: sets dir; true if it has to be made, in $work, which is empty unless an interrupted
# one has left FILE there, from which it goes on. done_stage marks it complete.
stage() {
    dir=$runs/$1-$2
    if [ -f "$dir/.complete" ]; then echo "$1: kept from an earlier run ($dir)" >&2; return 1; fi
    work=$dir.part
    if [ -z "${3-}" ] || [ ! -f "$work/$3" ]; then rm -rf "$work"; fi
    mkdir -p "$work"
    echo "$1: making $dir" >&2
}
done_stage() { : > "$work/.complete"; mv "$work" "$dir"; }
