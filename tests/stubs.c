// SPDX-License-Identifier: MIT OR Apache-2.0
// As much of NVIDIA's driver and of TensorRT as tells of one GPU, on which nothing can run.

#include <string.h>

static void *current;

int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 8; return 0; }
int cuDeviceGetName(char *name, int len, int device) { strncpy(name, "Stub", len); return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &current; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *context) { current = context; return 0; }
int cuCtxGetCurrent(void **context) { *context = current; return 0; }
int cuCtxSynchronize(void) { return 0; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = &current; return 0; }
int cuStreamDestroy_v2(void *stream) { return 0; }
int cuStreamSynchronize(void *stream) { return 0; }

int getInferLibVersion(void) { return 100301; }
