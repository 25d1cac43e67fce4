// The rest of libcuda.so.1: one device, its primary context, modules, and checkpoints of processes.
#define _GNU_SOURCE
#include "fake.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

// ---- memory that can't be parked, and graphs

int cuMemAlloc_v2(dptr *p, size_t n) {
	CONTEXT("cuMemAlloc");
	return fake_alloc(p, n);
}
int cuMemFree_v2(dptr p) {
	CONTEXT("cuMemFree");
	fake_sync(NULL);
	return fake_free(p);
}
int cuStreamBeginCapture_v2(void *s, int mode) {
	CONTEXT("cuStreamBeginCapture");
	return fake_capture_begin(s);
}
int cuStreamEndCapture(void *s, struct graph **g) {
	CONTEXT("cuStreamEndCapture");
	*g = fake_capture_end(s);
	return OK;
}
int cuGraphInstantiateWithFlags(struct graph ***exec, struct graph *g, unsigned long long flags) {
	CONTEXT("cuGraphInstantiate");
	*exec = fake_graph_exec(g);
	return OK;
}
int cuGraphLaunch(struct graph **exec, void *s) {
	CONTEXT("cuGraphLaunch");
	return fake_graph_launch(exec, s);
}
int cuGraphExecDestroy(struct graph **exec) {
	CONTEXT("cuGraphExecDestroy");
	return fake_graph_exec_free(exec);
}
int cuGraphDestroy(struct graph *g) {
	CONTEXT("cuGraphDestroy");
	fake_graph_drop(g);
	return OK;
}

// ---- modules: the fake understands our own kernels

static const char *const own[] = {[FILL] = "fill", [PATTERN] = "pattern", [COMPARE] = "compare", [SPIN] = "spin"};

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
	for (int i = FILL; i <= SPIN; i++)
		if (!strcmp(name, own[i])) {
			*f = (void *)&own[i];
			return OK;
		}
	return NOT_FOUND;
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *s, void **args, void **extra) {
	CONTEXT("cuLaunchKernel");
	const char *const *kernel = f;
	work w = {.kind = KERNEL, .name = *kernel, .own = kernel - own, .np = 1};
	w.dst = w.ptrs[0] = *(void **)args[0];
	switch (w.own) {
	case FILL: // (pointer, words, value)
		w.writable = 1;
		w.n = *(unsigned *)args[1];
		w.value = *(int *)args[2];
		break;
	case COMPARE: // (pointer, words, seed, count)
		w.count = w.ptrs[w.np++] = *(void **)args[3];
		// fall through
	case PATTERN: // (pointer, words, seed)
		w.n = *(uint64_t *)args[1];
		w.seed = *(uint64_t *)args[2];
		break;
	}
	return fake_submit(s, &w);
}

// ---- checkpoints: any process has states, and all stays where it is

enum { RUNNING, LOCKED, CHECKPOINTED };
static struct { int pid, state; } processes[64];

static int *state_of(int pid) {
	for (int i = 0; pid > 0 && !kill(pid, 0) && i < 64; i++)
		if (!processes[i].pid || processes[i].pid == pid) {
			processes[i].pid = pid;
			return &processes[i].state;
		}
	return NULL;
}

static int step(const char *name, int pid, const void *args, size_t reserved, int from, int to) {
	CALL(name);
	for (size_t i = reserved; args && i < 64; i++)
		if (((const char *)args)[i]) return INVALID_VALUE;
	fake_lock();
	int *state = state_of(pid);
	int e = !state ? INVALID_VALUE : *state != from ? ILLEGAL_STATE : OK;
	if (!e) *state = to;
	fake_unlock();
	return e;
}
int cuCheckpointProcessLock(int pid, const void *a) { return step("cuCheckpointProcessLock", pid, a, 4, RUNNING, LOCKED); }
int cuCheckpointProcessCheckpoint(int pid, const void *a) { return step("cuCheckpointProcessCheckpoint", pid, a, 0, LOCKED, CHECKPOINTED); }
int cuCheckpointProcessRestore(int pid, const void *a) { return step("cuCheckpointProcessRestore", pid, a, 0, CHECKPOINTED, LOCKED); }
int cuCheckpointProcessUnlock(int pid, const void *a) { return step("cuCheckpointProcessUnlock", pid, a, 0, LOCKED, RUNNING); }
int cuCheckpointProcessGetState(int pid, int *s) {
	fake_lock();
	int *state = state_of(pid);
	if (state) *s = *state;
	fake_unlock();
	return state ? OK : INVALID_VALUE;
}
