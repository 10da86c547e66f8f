/* settings.h: one row for each setting: its name, kind, place, default, choices and explanation. From a table
 * of rows follow the command line, --help, --config, a run's config.json, and what `grpo compute` and `grpo
 * verify` read. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "base.h"

/* Types of the fields: const char * (NULL: not given), int, double (NaN: none), bool, an int-sized enum for a
 * choice, and double for steps: a number of them, or, below 1, a share of all (settings_steps). A heading is
 * no setting: its name stands above the rows that follow it in --help. */
typedef enum { SET_HEADING, SET_STRING, SET_INT, SET_NUMBER, SET_BOOL, SET_CHOICE, SET_STEPS } SettingKind;
typedef struct {
    const char *name;                   /* TRL's where TRL has it; NULL ends a table */
    SettingKind kind;
    size_t at;                          /* offset in the struct that the table is of */
    const char *fallback;               /* default as text; NULL: none (a string stays NULL, a number NaN) */
    const char *const *choice;      /* SET_CHOICE: names in the enum's order, NULL at the end; else NULL */
    const char *help;
} Setting;
#define SETTINGS_HEADING(text) {text, SET_HEADING, 0, NULL, NULL, NULL}
#define SETTINGS_END {NULL, SET_HEADING, 0, NULL, NULL, NULL}

/* The field of config from text; where: what the error line begins with. A string is kept as the pointer
 * given. */
bool setting_set(void *config, const Setting *s, const char *text, const char *where, Err *e);
/* The number of steps that a field of SET_STEPS means, of n: a share is rounded up, as in transformers. */
int64_t settings_steps(double steps, int64_t n);
void setting_default(void *config, const Setting *s);
void settings_default(void *config, const Setting *rows);
/* The row of that name, dashes and underscores being the same; NULL: none. */
const Setting *setting_find(const Setting *rows, const char *name);
bool setting_same_name(const char *a, const char *b);

#endif
