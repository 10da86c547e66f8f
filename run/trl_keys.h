/* trl_keys.h: what a key of a TRL configuration means that is no option here. */
#ifndef TRL_KEYS_H
#define TRL_KEYS_H

#include "lib/json.h"

typedef enum { TRL_UNKNOWN, TRL_IDLE, TRL_HARMLESS, TRL_REFUSED } TrlKey;
/* TRL_IDLE: it changes nothing here whatever its value; TRL_HARMLESS: this value changes nothing;
 * TRL_REFUSED: it would change the mathematics, and e says what to do instead. text: the value as text, NULL
 * if it is none. */
TrlKey trl_key(const Json *v, const char *text, const char *where, Err *e);

#endif
