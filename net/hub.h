/* hub.h: what people give where the folder of a model is wanted: ids of a hub, folders of its cache, folders
 * with older files. */
#ifndef HUB_H
#define HUB_H

#include "lib/base.h"

/* path itself; of a cache's folder models--OWNER--NAME the snapshot that its refs/main names, or its only
 * one. */
void hub_folder(char out[1024], const char *path);
/* Always false: `file` is not in dir. The line says what is there instead, and the command that mends it. */
bool hub_lacks(const char *dir, const char *file, Err *e);
/* The command that fetches a hub's id, after "; "; "" where name is none. */
const char *hub_fetch(char out[700], const char *name);

#endif
