// SPDX-License-Identifier: MIT OR Apache-2.0
// An ONNX Runtime that has none of the APIs it is asked for: tests/library.rs.

#include <stddef.h>

typedef struct {
    const void *(*get_api)(unsigned version);
    const char *(*get_version_string)(void);
} OrtApiBase;

static const void *get_api(unsigned version) {
    (void)version;
    return NULL;
}

static const char *get_version_string(void) {
    return "1.10.0";
}

const OrtApiBase *OrtGetApiBase(void) {
    static const OrtApiBase base = {get_api, get_version_string};
    return &base;
}
