// What the three libraries of the fake share. All state lives in libcuda.so.1, behind one lock.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef uint64_t dptr; // a device address
enum {
	OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
	INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700,
};

// State of an address: foreign (not the device's), usable, or reserved without memory that may be touched.
enum { FOREIGN = 0, USABLE = 1, GONE = 2 };

// MAX_PTRS bounds the pointer arguments of one launch that are checked.
enum { MAX_PTRS = 32 };

// Work is what a stream or a graph does in one step.
struct event;
struct graph;
enum { COPY, SET, KERNEL, RECORD, WAIT, GRAPH };
// Our own kernels, as gpu/cuda/testdata/fill.cl and internal/gpucheck/kernels.cl have them. All others compute nothing.
enum { OTHER, FILL, PATTERN, COMPARE, SPIN };
typedef struct work {
	int kind;
	void *dst;
	const void *src;
	void *staged; // the bytes of src, where the caller may overwrite them after the call
	size_t n;
	int value;
	const char *name; // of the kernel
	int np;
	void *ptrs[MAX_PTRS];
	unsigned writable; // bit i: ptrs[i] is written to
	int own;           // FILL and so on: the kernel is carried out, on n words at dst
	uint64_t seed;     // of the pattern that it writes or looks for
	uint64_t *count;   // where it adds the words that differ
	struct event *event;
	unsigned long seq; // of the record that a wait waits for
	struct graph *graph;
	struct work *next;
} work;

// fake_call is the first thing that every CUDA function does. It returns the error that the test asked for, or that the device is
// in, or 0.
int fake_call(const char *name);
#define CALL(name) do { int e_ = fake_call(name); if (e_) return e_; } while (0)

void fake_lock(void);
void fake_unlock(void);
void fake_count(const char *what, unsigned long by);
int fake_ptr(const void *p);
void fake_memory_info(size_t *free, size_t *total);
void fake_capability(int *major, int *minor);
int fake_pinned(const void *p, size_t n);
void fake_pin(void *p, size_t n);
int fake_unpin(void *p);
int fake_alloc(dptr *out, size_t n);
int fake_free(dptr p);

void *fake_stream_new(void);
int fake_stream_free(void *s);
int fake_submit(void *s, const work *w);
int fake_copy(void *s, void *dst, const void *src, size_t n);
int fake_sync(void *s); // NULL: every stream
struct event *fake_event_new(void);
void fake_event_free(struct event *e);
int fake_event_done(struct event *e);
int fake_event_sync(struct event *e);
int fake_capture_begin(void *s);
int fake_capturing(void *s);
struct graph *fake_capture_end(void *s);
void fake_graph_hold(struct graph *g);
void fake_graph_drop(struct graph *g);
struct graph **fake_graph_exec(struct graph *g);
int fake_graph_launch(struct graph **exec, void *s);
int fake_graph_exec_free(struct graph **exec);
