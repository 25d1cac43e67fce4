// The rest of libcuda.so.1: one device, its primary context, modules, and checkpoints of processes.
#define _GNU_SOURCE
#include "fake.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int version = 13000, inited, retained;
static char context; // its address stands for the primary context
static __thread void *stack[8]; // of contexts, of each thread
static __thread int depth;

void fake_set_version(int v) { version = v; }

#define CONTEXT(name) do { CALL(name); if (!depth || stack[depth - 1] != &context || !retained) return INVALID_CONTEXT; } while (0)

int cuInit(unsigned flags) {
	CALL("cuInit");
	inited = 1;
	return OK;
}
int cuDriverGetVersion(int *v) {
	*v = version;
	return OK;
}
int cuGetErrorName(int e, const char **s) {
	switch (e) {
	case INVALID_VALUE: *s = "CUDA_ERROR_INVALID_VALUE"; break;
	case OUT_OF_MEMORY: *s = "CUDA_ERROR_OUT_OF_MEMORY"; break;
	case 46: *s = "CUDA_ERROR_DEVICE_UNAVAILABLE"; break;
	case INVALID_IMAGE: *s = "CUDA_ERROR_INVALID_IMAGE"; break;
	case INVALID_CONTEXT: *s = "CUDA_ERROR_INVALID_CONTEXT"; break;
	case ILLEGAL_STATE: *s = "CUDA_ERROR_ILLEGAL_STATE"; break;
	case NOT_FOUND: *s = "CUDA_ERROR_NOT_FOUND"; break;
	case NOT_READY: *s = "CUDA_ERROR_NOT_READY"; break;
	case ILLEGAL_ADDRESS: *s = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
	default: *s = NULL; return INVALID_VALUE;
	}
	return OK;
}
int cuGetErrorString(int e, const char **s) {
	*s = "an error of the fake";
	return OK;
}
int cuDeviceGetCount(int *n) {
	CALL("cuDeviceGetCount");
	*n = 1;
	return inited ? OK : 3;
}
int cuDeviceGet(int *d, int i) {
	CALL("cuDeviceGet");
	*d = i;
	return i ? INVALID_DEVICE : OK;
}
int cuDeviceGetName(char *s, int n, int d) {
	snprintf(s, n, "Fake device");
	return OK;
}
int cuDeviceGetUuid_v2(unsigned char *u, int d) {
	for (int i = 0; i < 16; i++) u[i] = i;
	return OK;
}
int cuDeviceTotalMem_v2(size_t *n, int d) {
	size_t f;
	fake_memory_info(&f, n);
	return OK;
}
int cuDeviceGetPCIBusId(char *s, int n, int d) {
	snprintf(s, n, "0000:01:00.0");
	return OK;
}
int cuDeviceGetAttribute(int *v, int attribute, int d) {
	int major, minor;
	fake_capability(&major, &minor);
	switch (attribute) {
	case 16: *v = 132; break; // multiprocessors
	case 18: *v = 0; break;   // integrated
	case 75: *v = major; break;
	case 76: *v = minor; break;
	default: *v = 1; // virtual memory management, and whatever else is asked for
	}
	return OK;
}
int cuDevicePrimaryCtxRetain(void **c, int d) {
	CALL("cuDevicePrimaryCtxRetain");
	retained++;
	*c = &context;
	return OK;
}
int cuDevicePrimaryCtxRelease_v2(int d) {
	CALL("cuDevicePrimaryCtxRelease");
	retained--;
	return OK;
}
int cuCtxPushCurrent_v2(void *c) {
	CALL("cuCtxPushCurrent");
	if (depth == 8 || c != &context) return INVALID_CONTEXT;
	stack[depth++] = c;
	return OK;
}
int cuCtxPopCurrent_v2(void **c) {
	CALL("cuCtxPopCurrent");
	if (!depth) return INVALID_CONTEXT;
	*c = stack[--depth];
	return OK;
}
int fake_contexts(void) { return depth; }
int cuCtxSynchronize(void) {
	CONTEXT("cuCtxSynchronize");
	return fake_sync(NULL);
}

// ---- host memory, copies, streams, events

int cuMemHostRegister_v2(void *p, size_t n, unsigned flags) {
	CONTEXT("cuMemHostRegister");
	fake_pin(p, n);
	return OK;
}
int cuMemHostUnregister(void *p) {
	CONTEXT("cuMemHostUnregister");
	return fake_unpin(p);
}
int cuMemcpyHtoDAsync_v2(dptr d, const void *h, size_t n, void *s) {
	CONTEXT("cuMemcpyHtoDAsync");
	return fake_copy(s, (void *)d, h, n);
}
int cuMemcpyDtoHAsync_v2(void *h, dptr d, size_t n, void *s) {
	CONTEXT("cuMemcpyDtoHAsync");
	return fake_copy(s, h, (void *)d, n);
}
int cuMemsetD8Async(dptr d, unsigned char v, size_t n, void *s) {
	CONTEXT("cuMemsetD8Async");
	work w = {.kind = SET, .dst = (void *)d, .value = v, .n = n};
	return fake_submit(s, &w);
}
int cuStreamCreate(void **s, unsigned flags) {
	CONTEXT("cuStreamCreate");
	*s = fake_stream_new();
	return OK;
}
int cuStreamDestroy_v2(void *s) {
	CONTEXT("cuStreamDestroy");
	return fake_stream_free(s);
}
int cuStreamSynchronize(void *s) {
	CONTEXT("cuStreamSynchronize");
	return fake_sync(s ? s : (void *)1);
}
int cuStreamWaitEvent(void *s, struct event *e, unsigned flags) {
	CONTEXT("cuStreamWaitEvent");
	work w = {.kind = WAIT, .event = e};
	return fake_submit(s, &w);
}
int cuEventCreate(struct event **e, unsigned flags) {
	CONTEXT("cuEventCreate");
	*e = fake_event_new();
	return OK;
}
int cuEventDestroy_v2(struct event *e) {
	CONTEXT("cuEventDestroy");
	fake_event_free(e);
	return OK;
}
int cuEventRecord(struct event *e, void *s) {
	CONTEXT("cuEventRecord");
	work w = {.kind = RECORD, .event = e};
	return fake_submit(s, &w);
}
int cuEventQuery(struct event *e) {
	CONTEXT("cuEventQuery");
	return fake_event_done(e) ? OK : NOT_READY;
}
int cuEventSynchronize(struct event *e) {
	CONTEXT("cuEventSynchronize");
	return fake_event_sync(e);
}
int cuEventElapsedTime(float *ms, struct event *from, struct event *to) {
	CONTEXT("cuEventElapsedTime");
	*ms = 1;
	return fake_event_done(from) && fake_event_done(to) ? OK : NOT_READY;
}

// ---- modules: the fake understands one kernel, fill(pointer, words, value)

int cuModuleLoadData(void **m, const char *ptx) {
	CONTEXT("cuModuleLoadData");
	if (!strstr(ptx, ".version")) return INVALID_IMAGE;
	*m = strdup(ptx);
	return OK;
}
int cuModuleUnload(void *m) {
	CONTEXT("cuModuleUnload");
	free(m);
	return OK;
}
int cuModuleGetFunction(void **f, void *m, const char *name) {
	CONTEXT("cuModuleGetFunction");
	char entry[128];
	snprintf(entry, sizeof entry, ".entry %s(", name);
	if (!strstr(m, entry)) return NOT_FOUND;
	*f = strcmp(name, "fill") ? NULL : (void *)"fill";
	return *f ? OK : NOT_FOUND;
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *s, void **args, void **extra) {
	CONTEXT("cuLaunchKernel");
	work w = {.kind = KERNEL, .name = f, .np = 1, .writable = 1, .fill = 1};
	w.dst = w.ptrs[0] = *(void **)args[0];
	w.n = *(unsigned *)args[1];
	w.value = *(int *)args[2];
	return fake_submit(s, &w);
}

// ---- checkpoints: this process only

enum { RUNNING, LOCKED, CHECKPOINTED };
static int state;

static int step(const char *name, int pid, const void *args, size_t reserved, int from, int to) {
	CALL(name);
	for (size_t i = reserved; args && i < 64; i++)
		if (((const char *)args)[i]) return INVALID_VALUE;
	if (pid != getpid()) return INVALID_VALUE;
	if (state != from) return ILLEGAL_STATE;
	state = to;
	return OK;
}
int cuCheckpointProcessLock(int pid, const void *a) { return step("cuCheckpointProcessLock", pid, a, 4, RUNNING, LOCKED); }
int cuCheckpointProcessCheckpoint(int pid, const void *a) { return step("cuCheckpointProcessCheckpoint", pid, a, 0, LOCKED, CHECKPOINTED); }
int cuCheckpointProcessRestore(int pid, const void *a) { return step("cuCheckpointProcessRestore", pid, a, 0, CHECKPOINTED, LOCKED); }
int cuCheckpointProcessUnlock(int pid, const void *a) { return step("cuCheckpointProcessUnlock", pid, a, 0, LOCKED, RUNNING); }
int cuCheckpointProcessGetState(int pid, int *s) {
	*s = state;
	return pid == getpid() ? OK : INVALID_VALUE;
}
