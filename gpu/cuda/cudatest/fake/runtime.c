// libcudart.so.13 of the fake: what libggml-cuda.so imports. It calls the driver directly, as the real one does, so that nobody
// who sits in an engine's import slots sees it.
#define _GNU_SOURCE
#include "fake.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned x, y, z; } dim3;

// ---- memory

int cudaMalloc(void **p, size_t n) {
	CALL("cudaMalloc");
	return fake_alloc((dptr *)p, n);
}
int cudaMallocManaged(void **p, size_t n, unsigned flags) {
	CALL("cudaMallocManaged");
	return fake_alloc((dptr *)p, n);
}
int cudaFree(void *p) {
	CALL("cudaFree");
	if (!p) return OK;
	int e = fake_sync(NULL);
	return e ? e : fake_free((dptr)p);
}
int cudaHostAlloc(void **p, size_t n, unsigned flags) {
	CALL("cudaHostAlloc");
	size_t size = (n + 4095) & ~4095ul;
	if (!(*p = aligned_alloc(4096, size ? size : 4096))) return OUT_OF_MEMORY;
	fake_pin(*p, n);
	return OK;
}
int cudaMallocHost(void **p, size_t n) { return cudaHostAlloc(p, n, 0); }
int cudaFreeHost(void *p) {
	CALL("cudaFreeHost");
	int e = fake_unpin(p);
	if (!e) free(p);
	return e;
}
int cudaHostRegister(void *p, size_t n, unsigned flags) {
	CALL("cudaHostRegister");
	fake_pin(p, n);
	return OK;
}
int cudaHostUnregister(void *p) {
	CALL("cudaHostUnregister");
	return fake_unpin(p);
}
int cudaHostGetDevicePointer(void **d, void *h, unsigned flags) {
	*d = h;
	return OK;
}
int cudaMemGetInfo(size_t *f, size_t *t) {
	CALL("cudaMemGetInfo");
	fake_memory_info(f, t);
	return OK;
}

// ---- the device

int cudaGetDevice(int *d) { CALL("cudaGetDevice"); *d = 0; return OK; }
int cudaGetDeviceCount(int *n) { CALL("cudaGetDeviceCount"); *n = 1; return OK; }
int cudaSetDevice(int d) { CALL("cudaSetDevice"); return d ? INVALID_DEVICE : OK; }
int cudaSetDeviceFlags(unsigned flags) { return OK; }
int cudaDeviceSynchronize(void) { CALL("cudaDeviceSynchronize"); return fake_sync(NULL); }
int cudaDeviceCanAccessPeer(int *can, int a, int b) { *can = 0; return OK; }
int cudaDeviceEnablePeerAccess(int peer, unsigned flags) { return OK; }
int cudaDeviceGetPCIBusId(char *s, int n, int d) { snprintf(s, n, "0000:01:00.0"); return OK; }
int cudaDeviceGetAttribute(int *v, int attribute, int d) { *v = attribute == 18 ? 0 : attribute == 16 ? 132 : 1; return OK; }
const char *cudaGetErrorString(int e) { return e ? "an error of the fake" : "no error"; }
const char *cudaGetErrorName(int e) { return e ? "cudaErrorFake" : "cudaSuccess"; }
int cudaGetLastError(void) { return fake_call("cudaGetLastError"); }
int cudaPeekAtLastError(void) { return fake_call("cudaPeekAtLastError"); }

// properties is the leading part of the block of CUDA 13, as far as ggml reads it. Written from the public documentation.
struct properties {
	char name[256], uuid[16], luid[8];
	unsigned luidMask;
	size_t totalGlobalMem, sharedMemPerBlock;
	int regsPerBlock, warpSize;
	size_t memPitch;
	int maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3];
	size_t totalConstMem;
	int major, minor;
	size_t textureAlignment, texturePitchAlignment;
	int multiProcessorCount, integrated, canMapHostMemory;
	int textures[24], surfaces[14];
	size_t surfaceAlignment;
	int concurrentKernels, ecc, pciBus, pciDevice, pciDomain, tcc, asyncEngines, unifiedAddressing, busWidth, l2, persistingL2, maxThreadsPerMP;
	int priorities, globalL1, localL1;
	size_t sharedMemPerMP;
	int regsPerMP, managed, multiBoard, boardGroup, nativeAtomic, pageable, concurrentManaged, preemption, hostRegister, cooperative;
	size_t sharedMemPerBlockOptin;
};
int cudaGetDeviceProperties(struct properties *p, int d) {
	CALL("cudaGetDeviceProperties");
	size_t f;
	memset(p, 0, sizeof *p);
	strcpy(p->name, "Fake device");
	fake_memory_info(&f, &p->totalGlobalMem);
	fake_capability(&p->major, &p->minor);
	p->sharedMemPerBlock = 49152;
	p->sharedMemPerBlockOptin = 232448;
	p->sharedMemPerMP = 233472;
	p->regsPerBlock = 65536;
	p->warpSize = 32;
	p->maxThreadsPerBlock = 1024;
	p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
	p->maxThreadsDim[2] = 64;
	p->maxGridSize[0] = 0x7fffffff;
	p->maxGridSize[1] = p->maxGridSize[2] = 65535;
	p->multiProcessorCount = 132;
	p->canMapHostMemory = p->unifiedAddressing = 1;
	return OK;
}

// ---- streams, events, copies

int cudaStreamCreateWithFlags(void **s, unsigned flags) { CALL("cudaStreamCreateWithFlags"); *s = fake_stream_new(); return OK; }
int cudaStreamDestroy(void *s) { CALL("cudaStreamDestroy"); return fake_stream_free(s); }
int cudaStreamSynchronize(void *s) { CALL("cudaStreamSynchronize"); return fake_sync(s ? s : (void *)1); }
int cudaStreamWaitEvent(void *s, struct event *e, unsigned flags) {
	CALL("cudaStreamWaitEvent");
	work w = {.kind = WAIT, .event = e};
	return fake_submit(s, &w);
}
int cudaEventCreateWithFlags(struct event **e, unsigned flags) { CALL("cudaEventCreateWithFlags"); *e = fake_event_new(); return OK; }
int cudaEventDestroy(struct event *e) { fake_event_free(e); return OK; }
int cudaEventRecord(struct event *e, void *s) {
	CALL("cudaEventRecord");
	work w = {.kind = RECORD, .event = e};
	return fake_submit(s, &w);
}
int cudaEventSynchronize(struct event *e) { CALL("cudaEventSynchronize"); return fake_event_sync(e); }
int cudaMemcpyAsync(void *d, const void *src, size_t n, int kind, void *s) { CALL("cudaMemcpyAsync"); return fake_copy(s, d, src, n); }
int cudaMemcpyPeerAsync(void *d, int to, const void *src, int from, size_t n, void *s) { CALL("cudaMemcpyPeerAsync"); return fake_copy(s, d, src, n); }
int cudaMemcpy2DAsync(char *d, size_t dpitch, const char *src, size_t spitch, size_t width, size_t height, int kind, void *s) {
	CALL("cudaMemcpy2DAsync");
	int e = OK;
	for (size_t i = 0; !e && i < height; i++) e = fake_copy(s, d + i * dpitch, src + i * spitch, width);
	return e;
}
int cudaMemsetAsync(void *d, int value, size_t n, void *s) {
	CALL("cudaMemsetAsync");
	work w = {.kind = SET, .dst = d, .value = value, .n = n};
	return fake_submit(s, &w);
}
int cudaMemset(void *d, int value, size_t n) { return cudaMemsetAsync(d, value, n, NULL); }

// ---- graphs

int cudaStreamIsCapturing(void *s, int *status) { *status = fake_capturing(s); return OK; }
int cudaStreamBeginCapture(void *s, int mode) { CALL("cudaStreamBeginCapture"); return fake_capture_begin(s); }
int cudaStreamEndCapture(void *s, struct graph **g) { CALL("cudaStreamEndCapture"); *g = fake_capture_end(s); return OK; }
int cudaGraphDestroy(struct graph *g) { fake_graph_drop(g); return OK; }
int cudaGraphInstantiate(struct graph ***exec, struct graph *g, unsigned long long flags) {
	CALL("cudaGraphInstantiate");
	*exec = fake_graph_exec(g);
	return OK;
}
int cudaGraphExecUpdate(struct graph **exec, struct graph *g, void *info) {
	CALL("cudaGraphExecUpdate");
	fake_graph_hold(g);
	fake_graph_drop(*exec);
	*exec = g;
	memset(info, 0, 8);
	return OK;
}
int cudaGraphExecDestroy(struct graph **exec) { return fake_graph_exec_free(exec); }
int cudaGraphLaunch(struct graph **exec, void *s) {
	CALL("cudaGraphLaunch");
	return fake_graph_launch(exec, s);
}

// ---- kernels: they compute nothing, but every pointer that one is given is looked at

typedef struct kernel {
	const void *host;
	const char *name;
	int nargs; // -1: its name has not been read yet
	unsigned pointers, writable;
	struct kernel *next;
} kernel;
static kernel *table[1 << 16];

static kernel **slot(const void *host) { return &table[(uint32_t)((uintptr_t)host >> 4) * 2654435761u >> 16]; }
static kernel *find(const void *host) {
	kernel *k = *slot(host);
	while (k && k->host != host) k = k->next;
	return k;
}
void **__cudaRegisterFatBinary(void *binary) { static void *handle; return &handle; }
void __cudaRegisterFatBinaryEnd(void **h) {}
void __cudaUnregisterFatBinary(void **h) {}
void __cudaRegisterVar(void **h, char *v, char *a, const char *n, int ext, size_t size, int constant, int global) {}
void __cudaRegisterFunction(void **h, const char *host, char *device, const char *name, int limit, void *tid, void *bid, void *bdim, void *gdim, int *warp) {
	kernel *k = malloc(sizeof *k);
	*k = (kernel){.host = host, .name = name, .nargs = -1, .next = *slot(host)};
	*slot(host) = k;
	fake_count("registered_kernels", 1);
}

static void argument(kernel *k, const char *from, const char *to) {
	while (to > from && to[-1] == ' ') to--;
	if (to == from) return;
	if (k->nargs < MAX_PTRS && to[-1] == '*') {
		k->pointers |= 1u << k->nargs;
		if (to - from < 7 || strncmp(to - 7, " const*", 7)) k->writable |= 1u << k->nargs;
	}
	k->nargs++;
}

// read_name finds which parameters are pointers, in the demangled name.
static void read_name(kernel *k) {
	static char *(*demangle)(const char *, char *, size_t *, int *);
	if (!demangle) demangle = dlsym(dlopen("libstdc++.so.6", RTLD_NOW), "__cxa_demangle");
	int status = -1;
	char *s = demangle ? demangle(k->name, NULL, NULL, &status) : NULL;
	size_t n = status ? 0 : strlen(s);
	k->nargs = 0;
	if (n && s[n - 1] == ')') {
		char *open = s + n - 1;
		for (int depth = 0; open > s; open--) { // the bracket that matches the last one
			if (*open == ')') depth++;
			if (*open == '(' && !--depth) break;
		}
		char *start = open + 1;
		int round = 0, angle = 0;
		for (char *q = start; q < s + n; q++) {
			if ((*q == ',' && !round && !angle) || q == s + n - 1) {
				argument(k, start, q);
				start = q + 1;
			} else if (*q == '(') round++;
			else if (*q == ')') round--;
			else if (*q == '<') angle++;
			else if (*q == '>') angle--;
		}
	}
	free(s);
}

static int launch(const void *host, void **args, void *s) {
	work w = {.kind = KERNEL, .name = "?"};
	fake_lock();
	kernel *k = find(host);
	if (k && k->nargs < 0) read_name(k);
	fake_unlock();
	if (k) w.name = k->name;
	for (int i = 0; k && i < k->nargs && i < MAX_PTRS; i++)
		if (k->pointers >> i & 1) {
			if (k->writable >> i & 1) w.writable |= 1u << w.np;
			w.ptrs[w.np++] = *(void **)args[i];
		}
	return fake_submit(s, &w);
}

static __thread struct { dim3 grid, block; size_t shared; void *stream; } pending;
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *s) {
	pending.grid = grid;
	pending.block = block;
	pending.shared = shared;
	pending.stream = s;
	return 0;
}
int __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void **s) {
	*grid = pending.grid;
	*block = pending.block;
	*shared = pending.shared;
	*s = pending.stream;
	return OK;
}
int __cudaGetKernel(const void **k, const void *host) { *k = host; return OK; }
int __cudaLaunchKernel(const void *k, dim3 grid, dim3 block, void **args, size_t shared, void *s) { CALL("cudaLaunchKernel"); return launch(k, args, s); }
int cudaLaunchCooperativeKernel(const void *k, dim3 grid, dim3 block, void **args, size_t shared, void *s) { CALL("cudaLaunchKernel"); return launch(k, args, s); }
struct config { dim3 grid, block; size_t shared; void *stream; };
int cudaLaunchKernelExC(const struct config *c, const void *k, void **args) { CALL("cudaLaunchKernel"); return launch(k, args, c->stream); }
int cudaFuncSetAttribute(const void *f, int attribute, int value) { return OK; }
struct attributes { size_t shared, constant, local; int threads, regs, ptx, binary; };
int cudaFuncGetAttributes(struct attributes *a, const void *f) {
	memset(a, 0, sizeof *a);
	a->threads = 1024;
	a->regs = 32;
	a->ptx = a->binary = 90;
	return OK;
}
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int block, size_t shared, unsigned flags) { *n = 2; return OK; }
