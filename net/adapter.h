/* adapter.h: PEFT's adapter_config.json (E294), in and out. Its tensors are folder.c's. */
#ifndef ADAPTER_H
#define ADAPTER_H

#include "lib/json.h"
#include "lib/safetensors.h"
#include "net/lora.h"

extern const char adapter_config_name[], adapter_tensors_name[], adapter_head_name[];

typedef struct {
    Lora lora;
    char base[1024];                    /* base_model_name_or_path, as it is written */
    bool classifier;                    /* of a reward model */
    bool partial;                       /* it may adapt some layers only: its tensors say which */
    bool saves;                         /* modules_to_save names more than a reward model's scores */
} AdapterConfig;

/* Refuses by name what would change the mathematics and is not computed here. */
bool adapter_read(AdapterConfig *a, const char *dir, Err *e);
/* adapter_model.safetensors of dir; NULL: an error. */
Safetensors *adapter_open(const char *dir, Err *e);
void adapter_write(JsonWriter *w, const AdapterConfig *a);

#endif
