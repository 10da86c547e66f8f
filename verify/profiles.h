/* profiles.h: what trainers do, by program and release: their settings in our names, and their own options.
 *
 * A dump says in the words of its program how it was made. Everything about a program stands in one table: a
 * row for each stretch of releases that compute the same, and rows for its options. Nothing else in verify/
 * knows a trainer. */
#ifndef VERIFY_PROFILES_H
#define VERIFY_PROFILES_H

#include "lib/json.h"
#include "verify/declared.h"

typedef struct Profile {
    const char *name;                   /* as --profile takes it */
    const char *since, *until;          /* first and last release that do so; NULL: it has no releases */
    const char *read;                   /* version or commit of the source that was read */
    const char *source;                 /* its files and functions */
    const char *settings;               /* "KEY VALUE, KEY VALUE": what is not TRL's newest default */
    const char *note;                   /* what a table cannot say, or NULL */
} Profile;
extern const Profile profiles[];
extern const int n_profile;

/* An option in the program's own words. */
typedef struct {
    const char *name, *option;          /* program; the option, or the end of its dotted path */
    const char *since, *until;          /* releases that have it; NULL: no limit */
    const char *value;                  /* NULL: any */
    const char *settings;               /* what it sets: as in Profile; NULL: the setting of the same name */
} ProfileOption;
extern const ProfileOption profile_options[];
extern const int n_profile_option;

/* "verl", "verl-0.8", "trl-1.9.0": the row. A name without a version is the newest, and so is a version
 * without its last numbers. label becomes NAME-VERSION. where: what the error line begins with. */
const Profile *profile_find(char label[48], const char *name, const char *where, Err *e);

/* The settings of the row. */
bool profile_apply(DumpSettings *s, const Profile *p, Err *e);
/* What `config` says in the program's own words; before our own names are read, or after: then what depends
 * on them. An option that this release does not have is an error, unless it says what the release does
 * anyway. */
bool profile_read(DumpSettings *s, const Profile *p, const char *label, const Json *config, bool after,
                  const char *where, Err *e);
/* Whether a member of `config` is, or holds, an option of the program; other: a program that has such an
 * option if this one has not, or NULL. */
bool profile_knows(const Profile *p, const Json *member, const char **other);
/* The settings s of a dump with TRL's newest defaults in place of the profile's, where config says neither.
 */
void profile_plain(DumpSettings *plain, const DumpSettings *s, const Profile *p, const Json *config);

/* The next setting in which a and b differ, from the *at-th row on: its key and both values as text, each
 * [64] or NULL. False: no more. What belongs to a run and not to a trainer is left out. */
bool settings_differ(char *key, char *of_a, char *of_b, int *at, const DumpSettings *a,
                     const DumpSettings *b);
void setting_copy(DumpSettings *to, const DumpSettings *from, const char *key);
/* s as another trainer would have it: p's settings where `plain` has TRL's newest; false: no difference. */
bool profile_instead(DumpSettings *to, const DumpSettings *s, const DumpSettings *plain, const Profile *p);
/* Whether all that an option's row sets are settings that there are, with values that they can have. */
bool option_row_check(const ProfileOption *o, Err *e);
/* s with what a choice of an option sets; false: no difference, or it needs a value of its own. */
bool option_instead(DumpSettings *s, const ProfileOption *o);

/* The i-th of the different values that trainers give a setting, and a trainer that has it; false: no more.
 * For "these numbers fit std_eps 1e-6, which is verl's". */
bool profile_way(int i, char key[64], char value[64], const Profile **who);

/* What a trainer with these settings computes, in words: a cell of docs/trainers.md. */
typedef enum {
    CELL_BASELINE, CELL_DEVIATION, CELL_RATIO, CELL_CLIP, CELL_KL, CELL_AGGREGATION, CELL_CORRECTION, N_CELL
} ProfileCell;
typedef struct { const char *name, *equations; } ProfileCellInfo;
extern const ProfileCellInfo profile_cells[N_CELL];
void profile_cell(char out[160], const DumpSettings *s, ProfileCell cell);
/* All rows as a list of objects; false, with the line filled in, where a row has a setting that is none. */
bool profiles_write(JsonWriter *w, Err *e);

#endif
