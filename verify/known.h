/* known.h: what the names of the catalogue say in symbols, and which of them are choices. */
#ifndef VERIFY_KNOWN_H
#define VERIFY_KNOWN_H

#include <stdbool.h>

/* Of a name: its formula, and who does so on purpose, with the place in their source; by NULL: nobody, it is
 * an error. */
typedef struct { const char *name, *formula, *by; } Known;
/* NULL: a name that is not in the catalogue (a pair, a setting fitted, a factor). */
const Known *known_name(const char *name);
/* A choice that some program makes on purpose, not an error; "A + B" if both are. */
bool name_is_choice(const char *name);

#endif
