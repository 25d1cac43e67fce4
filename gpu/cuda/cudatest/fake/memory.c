// Device memory of the fake: pages of memfds behind a real reserve, create, map, access, unmap and release. A parked address
// faults when it is touched, and released memory is gone.
#define _GNU_SOURCE
#include "fake.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GRANULARITY (2ull << 20)

typedef struct phys { int fd; void *bytes; size_t size; int maps, released; struct phys *next; } phys;
typedef struct map { dptr va; size_t size; phys *p; int access; struct map *next; } map;
typedef struct range { dptr va; size_t size; struct range *next; } range;
typedef struct counter { char name[40]; unsigned long n; } counter;
typedef struct fault { char name[40]; int after, code; } fault;

static pthread_mutex_t mu = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static map *maps;
static range *ranges, *pinned;
static phys *unused; // kept with their pages, which are dear to make
static size_t total = 80ull << 30, used;
static int major = 9, minor = 0, stale = -1, sticky;
static counter counters[32];
static fault faults[16];

void fake_lock(void) { pthread_mutex_lock(&mu); }
void fake_unlock(void) { pthread_mutex_unlock(&mu); }

// ---- what tests set and read

void fake_set_memory(size_t bytes) { total = bytes; }
void fake_set_capability(int ma, int mi) { major = ma; minor = mi; }
void fake_capability(int *ma, int *mi) { *ma = major; *mi = minor; }

// fake_set_stale has fresh memory filled with byte, as memory of a real device holds what somebody left; -1 leaves zeros.
// Reads of it count as stale_reads.
void fake_set_stale(int byte) { stale = byte; }
int fake_stale(void) { return stale; }

// fake_fail makes the call of that name fail with code, once, after so many that go well.
void fake_fail(const char *name, int after, int code) {
	fake_lock();
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		if (!faults[i].code) {
			snprintf(faults[i].name, sizeof faults[i].name, "%s", name);
			faults[i].after = after;
			faults[i].code = code;
			break;
		}
	fake_unlock();
}

// fake_lose is the end of the device: from now on every call fails with code.
void fake_lose(int code) { sticky = code; }

int fake_call(const char *name) {
	fake_lock();
	int e = sticky;
	for (size_t i = 0; !e && i < sizeof faults / sizeof *faults; i++)
		if (faults[i].code && !strcmp(faults[i].name, name) && faults[i].after-- == 0) {
			e = faults[i].code;
			faults[i].code = 0;
		}
	fake_unlock();
	return e;
}

void fake_count(const char *what, unsigned long by) {
	fake_lock();
	for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
		if (!counters[i].name[0] || !strcmp(counters[i].name, what)) {
			snprintf(counters[i].name, sizeof counters[i].name, "%s", what);
			counters[i].n += by;
			break;
		}
	fake_unlock();
}

unsigned long fake_counted(const char *what) {
	unsigned long n = 0;
	fake_lock();
	for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
		if (!strcmp(counters[i].name, what)) n = counters[i].n;
	fake_unlock();
	return n;
}

size_t fake_used(void) {
	fake_lock();
	size_t n = used;
	fake_unlock();
	return n;
}

// ---- addresses

static int within(dptr va, size_t n, dptr base, size_t size) { return va >= base && va + n <= base + size; }

int fake_ptr(const void *q) {
	dptr v = (dptr)q;
	int state = FOREIGN;
	fake_lock();
	for (range *r = ranges; r; r = r->next)
		if (within(v, 1, r->va, r->size)) state = GONE;
	for (map *m = state ? maps : NULL; m; m = m->next)
		if (m->access && within(v, 1, m->va, m->size)) state = USABLE;
	fake_unlock();
	return state;
}

void fake_memory_info(size_t *f, size_t *t) {
	fake_lock();
	*f = total > used ? total - used : 0;
	*t = total;
	fake_unlock();
}

static void put(phys *p) {
	if (p->maps || !p->released) return;
	used -= p->size;
	p->next = unused;
	unused = p;
}

static int reserve(dptr *out, size_t size) {
	if (!size || size % GRANULARITY) return INVALID_VALUE;
	char *raw = mmap(NULL, size + GRANULARITY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED) return OUT_OF_MEMORY;
	dptr a = ((dptr)raw + GRANULARITY - 1) & ~(GRANULARITY - 1);
	if (a > (dptr)raw) munmap(raw, a - (dptr)raw);
	munmap((void *)(a + size), (dptr)raw + GRANULARITY - a);
	range *r = malloc(sizeof *r);
	*r = (range){a, size, ranges};
	ranges = r;
	*out = a;
	return OK;
}

static int unreserve(dptr va, size_t size) {
	for (map *m = maps; m; m = m->next)
		if (within(m->va, 1, va, size)) return INVALID_VALUE;
	for (range **q = &ranges; *q; q = &(*q)->next)
		if ((*q)->va == va && (*q)->size == size) {
			range *r = *q;
			*q = r->next;
			free(r);
			munmap((void *)va, size);
			return OK;
		}
	return INVALID_VALUE;
}

static phys *new_phys(size_t size) {
	for (phys **q = &unused; *q; q = &(*q)->next)
		if ((*q)->size == size) {
			phys *p = *q;
			*q = p->next;
			if (stale < 0) memset(p->bytes, 0, size);
			p->released = 0;
			return p;
		}
	phys *p = calloc(1, sizeof *p);
	p->size = size;
	p->fd = memfd_create("fake-device", 0);
	if (p->fd >= 0 && !ftruncate(p->fd, size) && (p->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0)) != MAP_FAILED) return p;
	if (p->fd >= 0) close(p->fd);
	free(p);
	return NULL;
}

static int create(phys **out, size_t size) {
	if (!size || size % GRANULARITY) return INVALID_VALUE;
	phys *p = used + size > total ? NULL : new_phys(size);
	if (!p) return OUT_OF_MEMORY;
	if (stale >= 0) memset(p->bytes, stale, size);
	used += size;
	*out = p;
	return OK;
}

static int map_at(dptr va, size_t size, phys *p) {
	int inside = 0;
	for (range *r = ranges; r; r = r->next) inside |= within(va, size, r->va, r->size);
	for (map *m = maps; m; m = m->next)
		if (va < m->va + m->size && m->va < va + size) inside = 0;
	if (!inside || size != p->size) return INVALID_VALUE;
	if (mmap((void *)va, size, PROT_NONE, MAP_SHARED | MAP_FIXED, p->fd, 0) == MAP_FAILED) return OUT_OF_MEMORY;
	map *m = malloc(sizeof *m);
	*m = (map){va, size, p, 0, maps};
	maps = m;
	p->maps++;
	return OK;
}

static int set_access(dptr va, size_t size) {
	size_t done = 0;
	for (map *m = maps; m; m = m->next)
		if (within(m->va, m->size, va, size)) {
			mprotect((void *)m->va, m->size, PROT_READ | PROT_WRITE);
			m->access = 1;
			done += m->size;
		}
	return done == size ? OK : INVALID_VALUE;
}

static int unmap(dptr va, size_t size) { // whole mappings, one or more
	size_t done = 0;
	for (map *m = maps; m; m = m->next)
		if (within(m->va, m->size, va, size)) done += m->size;
	if (done != size) return INVALID_VALUE;
	for (map **q = &maps; *q;) {
		map *m = *q;
		if (!within(m->va, m->size, va, size)) {
			q = &m->next;
			continue;
		}
		mmap((void *)m->va, m->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		*q = m->next;
		m->p->maps--;
		put(m->p);
		free(m);
	}
	return OK;
}

// ---- the driver's calls

#define LOCKED(name, expr) CALL(name); fake_lock(); int e = (expr); fake_unlock(); return e

int cuMemGetAllocationGranularity(size_t *g, const void *prop, int option) {
	CALL("cuMemGetAllocationGranularity");
	*g = GRANULARITY;
	return OK;
}
int cuMemAddressReserve(dptr *out, size_t size, size_t align, dptr hint, unsigned long long flags) { LOCKED("cuMemAddressReserve", reserve(out, size)); }
int cuMemAddressFree(dptr va, size_t size) { LOCKED("cuMemAddressFree", unreserve(va, size)); }
int cuMemCreate(phys **out, size_t size, const void *prop, unsigned long long flags) { LOCKED("cuMemCreate", create(out, size)); }
int cuMemMap(dptr va, size_t size, size_t offset, phys *p, unsigned long long flags) { LOCKED("cuMemMap", offset ? INVALID_VALUE : map_at(va, size, p)); }
int cuMemSetAccess(dptr va, size_t size, const void *desc, size_t n) { LOCKED("cuMemSetAccess", set_access(va, size)); }
int cuMemUnmap(dptr va, size_t size) { LOCKED("cuMemUnmap", unmap(va, size)); }
int cuMemRelease(phys *p) {
	CALL("cuMemRelease");
	fake_lock();
	int e = p->released ? INVALID_VALUE : OK;
	p->released = 1;
	put(p);
	fake_unlock();
	return e;
}
int cuMemGetInfo_v2(size_t *f, size_t *t) {
	CALL("cuMemGetInfo");
	fake_memory_info(f, t);
	return OK;
}

// ---- cudaMalloc of the runtime: reached only past an interposer

typedef struct raw { dptr va; size_t size; struct raw *next; } raw;
static raw *raws;

int fake_alloc(dptr *out, size_t n) {
	size_t size = n ? (n + GRANULARITY - 1) / GRANULARITY * GRANULARITY : GRANULARITY;
	phys *p;
	fake_lock();
	int e = create(&p, size);
	if (!e && !(e = reserve(out, size))) e = map_at(*out, size, p);
	if (!e) {
		p->released = 1;
		set_access(*out, size);
		raw *r = malloc(sizeof *r);
		*r = (raw){*out, size, raws};
		raws = r;
		fake_count("raw_allocations", 1);
	}
	fake_unlock();
	return e;
}

int fake_free(dptr va) {
	int e = INVALID_VALUE;
	fake_lock();
	for (raw **q = &raws; *q; q = &(*q)->next)
		if ((*q)->va == va) {
			raw *r = *q;
			*q = r->next;
			unmap(r->va, r->size);
			e = unreserve(r->va, r->size);
			free(r);
			break;
		}
	fake_unlock();
	return e;
}

// ---- pinned host memory

void fake_pin(void *p, size_t n) {
	range *r = malloc(sizeof *r);
	fake_lock();
	*r = (range){(dptr)p, n, pinned};
	pinned = r;
	fake_unlock();
}

int fake_unpin(void *p) {
	int e = INVALID_VALUE;
	fake_lock();
	for (range **q = &pinned; *q; q = &(*q)->next)
		if ((*q)->va == (dptr)p) {
			range *r = *q;
			*q = r->next;
			free(r);
			e = OK;
			break;
		}
	fake_unlock();
	return e;
}

int fake_pinned(const void *p, size_t n) {
	int in = 0;
	fake_lock();
	for (range *r = pinned; r; r = r->next) in |= within((dptr)p, n, r->va, r->size);
	fake_unlock();
	return in;
}
