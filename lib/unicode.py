"""Writes lib/unicode.c: asks `tokenizers` itself about every code point, so that the classes are its own."""
from tokenizers import Regex, pre_tokenizers
chars = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
def ranges(cls):
    split = pre_tokenizers.Split(Regex(cls), "removed", invert=True)    # what is left: runs that match
    out = []
    for i in range(0, len(chars), 4096):
        part = chars[i:i + 4096]
        for text, _ in split.pre_tokenize_str("".join(map(chr, part))):
            for c in map(ord, text):
                if out and out[-1][1] == c - 1: out[-1][1] = c
                else: out.append([c, c])
    return out
print("/* unicode.c: written by lib/unicode.py; do not edit. Sorted ranges, ends included. */\n#include \"unicode.h\"\n\n#include <stddef.h>\n")
print("static bool inside(const uint32_t (*r)[2], size_t n, uint32_t c)\n{\n    size_t a = 0;\n    while (a < n) {\n        const size_t m = a + (n - a) / 2;\n"
      "        if (c < r[m][0]) n = m; else if (c > r[m][1]) a = m + 1; else return true;\n    }\n    return false;\n}")
for name, cls in (("letter", r"\p{L}"), ("number", r"\p{N}"), ("space", r"\s")):
    r = ranges(cls)
    print(f"\nstatic const uint32_t {name}[][2] = {{")
    for i in range(0, len(r), 6): print("    " + " ".join(f"{{0x{a:X}, 0x{b:X}}}," for a, b in r[i:i + 6]))
    print(f"}};\nbool unicode_{name}(uint32_t c) {{ return inside({name}, sizeof {name} / sizeof *{name}, c); }}")
