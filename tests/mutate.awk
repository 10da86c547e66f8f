# mutate.awk: breaks sources on purpose. Input: lines of mutants.txt, "FILE: TEXT ==> TEXT", one exercise's number ("@7 ") before it or not. White space does not
# count in the search, so that a line of the list outlives a source that is wrapped anew. Each TEXT must stand in its file exactly once; else it is named here.
# With -v out=FILE the changed source goes there (one line of input); without, places are only checked.
function read_file(name,    line, c, i, n) {
    if (name == have) return
    have = name; text = squeezed = ""; n = 0
    while ((getline line < name) > 0) text = text line "\n"
    close(name)
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c != " " && c != "\n" && c != "\t") { squeezed = squeezed c; place[++n] = i }
    }
}
/^#/ || !NF { next }
{
    line = $0; sub(/^@[0-9]+ /, "", line)
    at = index(line, ": "); file = substr(line, 1, at - 1); line = substr(line, at + 2)
    at = index(line, " ==> "); from = substr(line, 1, at - 1); to = substr(line, at + 5)
    read_file(file)
    gsub(/[ \t]/, "", from)
    first = index(squeezed, from)
    if (!at || !first || index(substr(squeezed, first + 1), from)) { print "not once in " file ": " $0; wrong = 1; next }
    checked++
    if (out) printf "%s%s%s", substr(text, 1, place[first] - 1), to, substr(text, place[first + length(from) - 1] + 1) > out
}
END { if (!out) print checked + 0 " places found"; exit wrong }
