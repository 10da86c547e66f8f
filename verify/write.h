/* write.h: right values as a dump: golden numbers for other projects' tests, and a tiny case on which every
 * mistake shows. */
#ifndef VERIFY_WRITE_H
#define VERIFY_WRITE_H

#include "verify/stages.h"

/* Inputs of the case's dump, and every stage that can be computed from them: open the case on dump_inputs. */
bool write_golden(const char *path, const Case *c, Err *e);
/* Of the stages that the dump holds, our values from the dump's own numbers: what the float build hands to
 * the double one. */
bool write_values(const char *path, const Case *c, Err *e);

/* Tiny models, dumps and sharp.json in a new folder: every mistake of the catalogue is another number in one
 * of them. */
bool write_sharp(const char *dir, Err *e);

#endif
