/* safetensors.h: reading and writing tensors as Hugging Face stores them, read as if written by a liar.
 *
 * Reading maps the file; Tensor.data points into the map and is valid until safetensors_close. `path` may be
 * a file, or a folder holding model.safetensors or model.safetensors.index.json with its shards. Every
 * offset, shape, dtype, overlap, gap and name is checked against the file's size before anything is touched.
 */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include "base.h"
#include "gemm.h"               /* Store */

typedef struct {
    const char *name;
    Store store; /* STORE_F32, _F16, _BF16, _F64; other dtypes (I64, I32, U8, BOOL) are kept: see dtype */
    char dtype[8];
    int n_dim;
    size_t shape[8], count, bytes;
    const void *data;
} Tensor;

typedef struct Safetensors Safetensors;
Safetensors *safetensors_open(const char *path, Err *e);
void safetensors_close(Safetensors *s);
int safetensors_count(const Safetensors *s);
/* in the order of offsets, shards in order of name */
const Tensor *safetensors_at(const Safetensors *s, int i);
const Tensor *safetensors_find(const Safetensors *s, const char *name); /* NULL if absent */
const char *safetensors_metadata(const Safetensors *s, const char *key);/* of __metadata__; NULL if absent */
/* Whether the file ends with its seal, the SHA-256 of everything before it. */
bool safetensors_sealed(const Safetensors *s);

/* Writing: all tensors are declared, then written in that order, atomically. `data` is converted from `from`
 * to the tensor's store while writing. metadata: pairs key, value, ending with NULL; "format" is "pt" unless
 * given. dtype (NULL: that of store): an integer type such as "I64"; then data is written as it lies. A last
 * tensor of U8 [32] without data is the seal. */
typedef struct {
    const char *name;
    Store store;
    int n_dim;
    size_t shape[8];
    const void *data;
    Store from;
    const char *dtype;
} TensorOut;
bool safetensors_write(const char *path, const TensorOut *t, int n, const char *const *metadata, Err *e);

#endif
