/* hub.c: from what people give to a folder, or to the command that makes one.
 *
 * In this order: a hub's cache, ids of a hub, what may stand in a folder instead of the files read here. */
#include "net/hub.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"

/* ---- a hub's cache ---- */

static const char *hub_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The path without slashes at its end. */
static void trimmed(char out[1024], const char *path) {
    snprintf(out, 1024, "%s", path);
    for (size_t n = strlen(out); n > 1 && out[n - 1] == '/'; n--) out[n - 1] = 0;
}

static bool is_cache(const char *path) { return strncmp(hub_name(path), "models--", 8) == 0; }

/* What refs/main says, to be freed; NULL: there is none. */
static char *main_commit(const char *path) {
    char refs[1024];
    size_t n;
    Err e = {{0}};
    if (!path_join(refs, sizeof refs, path, "refs/main", &e) || !path_exists(refs)) return NULL;
    char *commit = file_read(refs, &n, &e);
    if (commit) commit[strcspn(commit, " \r\n/")] = 0;
    return commit;
}

/* The name of the one thing in a folder, to be freed; NULL: there are more, or none. */
static char *only_entry(const char *path) {
    DIR *d = opendir(path);
    char *name = NULL;
    int n = 0;
    for (const struct dirent *entry; d && n < 2 && (entry = readdir(d)); ) {
        if (entry->d_name[0] == '.' || n++) continue;
        if ((name = malloc(strlen(entry->d_name) + 1))) strcpy(name, entry->d_name);
    }
    if (d) closedir(d);
    if (n == 1) return name;
    free(name);
    return NULL;
}

void hub_folder(char out[1024], const char *path) {
    char name[1024], all[1024], snapshot[1024];
    Err e = {{0}};
    snprintf(out, 1024, "%s", path);
    trimmed(name, path);
    if (!is_cache(name) || !path_join(all, sizeof all, name, "snapshots", &e)) return;
    char *commit = main_commit(name);
    if (!commit) commit = only_entry(all);
    if (commit && *commit && path_join(snapshot, sizeof snapshot, all, commit, &e) &&
        path_is_folder(snapshot))
        memcpy(out, snapshot, sizeof snapshot);
    free(commit);
}

/* ---- ids of a hub ---- */

/* OWNER/NAME, of the characters that hubs allow. */
static bool is_id(const char *s) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    const size_t owner = strspn(s, letters), name = s[owner] == '/' ? strspn(s + owner + 1, letters) : 0;
    return owner && name && !s[owner + 1 + name] && *s != '.' && s[owner + 1] != '.' && strlen(s) < 100;
}

const char *hub_fetch(char out[700], const char *name) {
    out[0] = 0;
    if (is_id(name))
        snprintf(out, 700, "; to fetch a hub's model: hf download %s --local-dir %s, and give that folder",
                 name, hub_name(name));
    return out;
}

/* ---- what stands there instead ---- */

/* What may be in a folder in place of a file, and what makes the file of it: python3 -c "...", where @ is the
 * folder. */
static const struct { const char *file, *instead[5], *python; } mend[] = {
    {"model.safetensors", {"pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"},
     "from transformers import AutoModelForCausalLM as M; M.from_pretrained('@').save_pretrained('@')"},
    {"tokenizer.json", {"vocab.json", "tokenizer.model", "spiece.model", "vocab.txt"},
     "from transformers import AutoTokenizer as T; T.from_pretrained('@').save_pretrained('@')"},
    {"adapter_model.safetensors", {"adapter_model.bin"},
     "import torch, safetensors.torch as s; "
     "s.save_file(torch.load('@/adapter_model.bin'), '@/adapter_model.safetensors')"}};
static const char classifier[] = "from transformers import AutoModelForSequenceClassification as M; "
                                 "M.from_pretrained('@').save_pretrained('@')";

static bool folder_holds(const char *dir, const char *file) {
    char path[1024];
    Err e = {{0}};
    return path_join(path, sizeof path, dir, file, &e) && path_exists(path);
}

static bool is_classifier(const char *dir) {
    char path[1024];
    size_t n;
    Err e = {{0}};
    char *text = path_join(path, sizeof path, dir, "config.json", &e) ? file_read(path, &n, &e) : NULL;
    const bool found = text && strstr(text, "ForSequenceClassification");
    free(text);
    return found;
}

static void with_folder(char out[700], const char *python, const char *dir) {
    size_t n = 0;
    for (; *python && n < 699; python++)
        if (*python == '@') n += (size_t)snprintf(out + n, 700 - n, "%.300s", dir);
        else out[n++] = *python, out[n] = 0;
}

/* Where the folder is there, but not the file. */
static bool lacks_file(const char *dir, const char *file, Err *e) {
    char python[700];
    for (size_t i = 0; i < sizeof mend / sizeof *mend; i++)
        for (const char *const *other = mend[i].instead; !strcmp(mend[i].file, file) && *other; other++) {
            if (!folder_holds(dir, *other)) continue;
            with_folder(python, i == 0 && is_classifier(dir) ? classifier : mend[i].python, dir);
            return fail(e, "%s/%s: could not be read: found %s instead, which is not read here; to mend it: "
                        "python3 -c \"%s\"", dir, file, *other, python);
        }
    return fail(e, "%s/%s: could not be read: there is none; expected a folder as transformers' "
                "save_pretrained writes it, with config.json, model.safetensors and tokenizer.json", dir,
                file);
}

bool hub_lacks(const char *dir, const char *file, Err *e) {
    char name[1024], fetch[700];
    trimmed(name, dir);
    if (!path_exists(name))
        return fail(e, "%s/%s: could not be read: there is no folder %.100s%s", dir, file, name,
                    hub_fetch(fetch, name));
    if (!path_is_folder(name))
        return fail(e, "%s: is a file; expected the folder of a model, with config.json, model.safetensors "
                    "and tokenizer.json", name);
    if (!is_cache(name)) return lacks_file(dir, file, e);
    char *id = name + (hub_name(name) - name) + strlen("models--"), *middle = strstr(id, "--");
    if (middle) *middle = '/', memmove(middle + 1, middle + 2, strlen(middle + 2) + 1);
    return fail(e, "%.300s: holds no snapshot of its refs/main, or several without one%s", dir,
                hub_fetch(fetch, id));
}
