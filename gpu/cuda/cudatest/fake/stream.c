// Streams, events and graphs of the fake. Work waits in its stream until somebody waits for it, so that what is freed or parked
// too early is noticed: the fake is as late as a device may be.
#define _GNU_SOURCE
#include "fake.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct event { struct stream *stream; unsigned long seq, done; int refs; } event;
typedef struct graph { work *head, **tail; int refs; } graph;
typedef struct stream { work *head, **tail; graph *capture; struct stream *next; } stream;

static stream *streams;
static int corrupt = -1; // how many more copies to the device go well before one does not
static int failed; // what a copy met that touched memory which is gone: every later call returns it

int fake_stale(void);
void fake_lose(int code);

static stream *new_stream(void) {
	stream *s = calloc(1, sizeof *s);
	s->tail = &s->head;
	fake_lock();
	s->next = streams;
	streams = s;
	fake_unlock();
	return s;
}

// real resolves the names that stand for a stream: the legacy one (0, 1) and each thread's own (2).
static stream *real(void *s) {
	static stream *legacy;
	static __thread stream *own;
	stream **q = (uintptr_t)s == 2 ? &own : &legacy;
	if ((uintptr_t)s > 2) return s;
	fake_lock();
	if (!*q) *q = new_stream();
	fake_unlock();
	return *q;
}

void *fake_stream_new(void) { return new_stream(); }

// fake_corrupt has one copy to the device, after so many that go well, change a bit on the way.
void fake_corrupt(int after) {
	fake_lock();
	corrupt = after;
	fake_unlock();
}

// ---- carrying out

static void complain(const char *what, const char *who, const void *p) {
	fake_count("bad_pointers", 1);
	if (getenv("FAKE_CUDA_QUIET")) return;
	fprintf(stderr, "fake CUDA: %s %.80s: %p is %s\n", what, who, p, fake_ptr(p) == GONE ? "without memory" : "no device address");
}

static void touch(void **ptrs, int np, unsigned writable, const char *name) {
	static const float mark = 1; // what "computed" looks like: neither stale nor poison
	for (int i = 0; i < np; i++) {
		if (!ptrs[i] || fake_pinned(ptrs[i], 1)) continue;
		fake_count("pointers", 1);
		if (fake_ptr(ptrs[i]) != USABLE) complain("kernel", name, ptrs[i]);
		else if ((writable >> i & 1) && fake_ptr((char *)ptrs[i] + sizeof mark - 1) == USABLE) memcpy(ptrs[i], &mark, sizeof mark);
	}
}

static void copy(const work *w) {
	const void *src = w->staged ? w->staged : w->src;
	int from = fake_ptr(src), to = fake_ptr(w->dst);
	if (from == GONE || to == GONE) {
		complain("copy", "", from == GONE ? src : w->dst);
		failed = ILLEGAL_ADDRESS;
		return;
	}
	if (from == USABLE && to == FOREIGN && fake_stale() >= 0 && w->n >= 4) {
		unsigned char stale[4];
		memset(stale, fake_stale(), sizeof stale);
		if (!memcmp(src, stale, sizeof stale)) fake_count("stale_reads", 1);
	}
	memmove(w->dst, src, w->n);
	if (to == USABLE && from == FOREIGN && corrupt >= 0 && corrupt-- == 0) ((char *)w->dst)[w->n / 2] ^= 1;
	fake_count("copies", 1);
}

static void set(const work *w) {
	if (fake_ptr(w->dst) == GONE || fake_ptr((char *)w->dst + w->n - 1) == GONE) {
		complain("memset", "", w->dst);
		failed = ILLEGAL_ADDRESS;
		return;
	}
	memset(w->dst, w->value, w->n);
}

static void run_until(stream *s, event *e, unsigned long seq);

static uint64_t pattern(uint64_t i, uint64_t seed) {
	uint64_t x = (i + seed) * 0x9E3779B97F4A7C15ull;
	return x ^ x >> 32;
}

static void compute(const work *w) {
	size_t bytes = w->n * (w->own == FILL ? sizeof(int) : sizeof(uint64_t));
	if (!bytes || fake_ptr(w->dst) != USABLE || fake_ptr((char *)w->dst + bytes - 1) != USABLE) return;
	for (size_t i = 0; i < w->n; i++) switch (w->own) {
		case FILL: ((int *)w->dst)[i] = w->value; break;
		case PATTERN: ((uint64_t *)w->dst)[i] = pattern(i, w->seed); break;
		case COMPARE: *w->count += ((uint64_t *)w->dst)[i] != pattern(i, w->seed); break;
	}
}

static void run(const work *w) {
	switch (w->kind) {
	case COPY: copy(w); break;
	case SET: set(w); break;
	case KERNEL:
		touch((void **)w->ptrs, w->np, w->writable, w->name);
		compute(w);
		fake_count("kernels", 1);
		break;
	case RECORD: w->event->done = w->seq; break;
	case WAIT: // a stream that is gone has done all its work
		if (w->event->done < w->seq) run_until(w->event->stream, w->event, w->seq);
		break;
	case GRAPH:
		fake_count("graph_launches", 1);
		for (work *n = w->graph->head; n; n = n->next) {
			run(n);
			if (n->kind == KERNEL) fake_count("graph_kernels", 1);
		}
		break;
	}
}

static void drop(work *w) {
	if (w->event) fake_event_free(w->event);
	if (w->graph) fake_graph_drop(w->graph);
	free(w->staged);
	free(w);
}

// run_until carries out the work of s until e has seen the record seq; without e, all of it.
static void run_until(stream *s, event *e, unsigned long seq) {
	while (s->head && !(e && e->done >= seq)) {
		work *w = s->head;
		if (!(s->head = w->next)) s->tail = &s->head;
		run(w);
		drop(w);
	}
}

int fake_sync(void *s) {
	fake_lock();
	if (s) run_until(real(s), NULL, 0);
	else for (stream *x = streams; x; x = x->next) run_until(x, NULL, 0);
	int e = failed;
	if (e) fake_lose(e);
	fake_unlock();
	return e;
}

int fake_stream_free(void *v) {
	fake_lock();
	run_until(v, NULL, 0);
	for (stream **q = &streams; *q; q = &(*q)->next)
		if (*q == v) {
			*q = (*q)->next;
			break;
		}
	free(v);
	fake_unlock();
	return OK;
}

// ---- handing in

int fake_submit(void *v, const work *given) {
	fake_lock();
	stream *s = real(v);
	work *w = malloc(sizeof *w);
	*w = *given;
	w->next = NULL;
	if (w->event) w->event->refs++;
	if (w->graph) w->graph->refs++;
	if (s->capture) {
		*s->capture->tail = w;
		s->capture->tail = &w->next;
	} else {
		if (w->kind == RECORD) {
			w->seq = ++w->event->seq;
			w->event->stream = s;
		} else if (w->kind == WAIT) w->seq = w->event->seq;
		*s->tail = w;
		s->tail = &w->next;
	}
	fake_unlock();
	return (uintptr_t)v < 2 ? fake_sync(NULL) : OK; // the legacy stream waits for all others
}

// fake_copy hands in a copy. What lies in host memory that is not pinned is taken at once, and what goes there is waited for,
// as the driver has it.
int fake_copy(void *s, void *dst, const void *src, size_t n) {
	work w = {.kind = COPY, .dst = dst, .src = src, .n = n};
	if (fake_ptr(src) == FOREIGN && !fake_pinned(src, n) && !fake_capturing(s)) {
		w.staged = malloc(n);
		memcpy(w.staged, src, n);
	}
	int e = fake_submit(s, &w);
	if (!e && fake_ptr(dst) == FOREIGN && !fake_pinned(dst, n) && !fake_capturing(s)) e = fake_sync(real(s));
	return e;
}

// ---- events

event *fake_event_new(void) {
	event *e = calloc(1, sizeof *e);
	e->refs = 1;
	return e;
}
void fake_event_free(event *e) {
	fake_lock();
	if (!--e->refs) free(e);
	fake_unlock();
}
int fake_event_done(event *e) {
	fake_lock();
	int done = e->done >= e->seq;
	fake_unlock();
	return done;
}
int fake_event_sync(event *e) {
	fake_lock();
	if (e->stream && e->done < e->seq) run_until(e->stream, e, e->seq);
	int err = failed;
	if (err) fake_lose(err);
	fake_unlock();
	return err;
}

// ---- graphs

int fake_capture_begin(void *v) {
	fake_lock();
	graph *g = calloc(1, sizeof *g);
	g->tail = &g->head;
	g->refs = 1;
	real(v)->capture = g;
	fake_count("captures", 1);
	fake_unlock();
	return OK;
}
int fake_capturing(void *v) { return real(v)->capture != NULL; }
graph *fake_capture_end(void *v) {
	fake_lock();
	graph *g = real(v)->capture;
	real(v)->capture = NULL;
	fake_unlock();
	return g;
}
void fake_graph_hold(graph *g) {
	fake_lock();
	g->refs++;
	fake_unlock();
}
void fake_graph_drop(graph *g) {
	fake_lock();
	if (!--g->refs)
		for (work *w = g->head; w;) {
			work *next = w->next;
			drop(w);
			w = next;
		}
	if (!g->refs) free(g);
	fake_unlock();
}
graph **fake_graph_exec(graph *g) {
	fake_graph_hold(g);
	graph **exec = malloc(sizeof *exec);
	*exec = g;
	return exec;
}
int fake_graph_launch(graph **exec, void *s) {
	work w = {.kind = GRAPH, .graph = *exec};
	return fake_submit(s, &w);
}
int fake_graph_exec_free(graph **exec) {
	fake_graph_drop(*exec);
	free(exec);
	return OK;
}
