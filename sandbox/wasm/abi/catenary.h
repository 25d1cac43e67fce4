/* The guest ABI catenary_v1 for C. docs/abi.md describes it byte by byte.
 *
 * Build a function with Debian's clang, lld, wasi-libc and libclang-rt-dev-wasm32, or with wasi-sdk:
 *
 *     clang --target=wasm32-wasi -mexec-model=reactor -O2 -I sandbox/wasm/abi -o echo.wasm echo.c
 */
#ifndef CATENARY_H
#define CATENARY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CATENARY_IMPORT(name) __attribute__((import_module("catenary_v1"), import_name(#name)))
#define CATENARY_EXPORT(name) __attribute__((export_name(#name)))

/* Results of catenary_call. */
enum {
  CATENARY_OK = 0,
  CATENARY_FAILED = 1,  /* the function failed: say why by catenary_fail */
  CATENARY_INVALID = 2, /* the function can't take this input */
  CATENARY_HOST = 3     /* the function failed since the host did */
};

/* Results of catenary_item_recv below zero. */
enum {
  CATENARY_AGAIN = -1,      /* nothing there yet, on a descriptor set non-blocking */
  CATENARY_END = -2,        /* no more items */
  CATENARY_RECV_FAILED = -3 /* catenary_item_info says why */
};

/* Levels of catenary_log. */
enum { CATENARY_DEBUG = -4, CATENARY_INFO = 0, CATENARY_WARN = 4, CATENARY_ERROR = 8 };

/* What catenary_item_info tells of an item. */
struct catenary_item {
  uint64_t seq;    /* counts the items of the descriptor from 0 */
  uint64_t turn;   /* the utterance of the caller that it belongs to, from 0 */
  int64_t time_ns; /* when what it tells of happened, nanoseconds since 1970; 0 if nobody said */
};
_Static_assert(sizeof(struct catenary_item) == 24, "the layout is part of the ABI");

/* Receives one item into buf. n >= 0: its size; if that is more than cap, nothing was taken: come again with room. */
CATENARY_IMPORT(item_recv) int64_t catenary_item_recv(int32_t fd, void *buf, uint32_t cap);

/* Sends one item. 0, or an errno. */
CATENARY_IMPORT(item_send) int32_t catenary_item_send(int32_t fd, const void *buf, uint32_t len);

/* Tells of the item received last. 0, or the errno for which catenary_item_recv failed. */
CATENARY_IMPORT(item_info) int32_t catenary_item_info(int32_t fd, struct catenary_item *info);

/* Sets turn and time of the next item sent, or the turn of a generation before its request. 0, or an errno. */
CATENARY_IMPORT(item_mark) int32_t catenary_item_mark(int32_t fd, int64_t turn, int64_t time_ns);

/* Opens "model:NAME", "blob:DIGEST", "newblob:TYPE" or "turns:". A descriptor, or a negative errno. */
CATENARY_IMPORT(open) int32_t catenary_open(const char *request, uint32_t len);

/* Nanoseconds that the call has left, or -1 if nothing limits it. */
CATENARY_IMPORT(deadline) int64_t catenary_deadline(void);

/* Why the call is ending, a {code, message} in the manifest's encoding: its size, as catenary_item_recv; -1 if it is not. */
CATENARY_IMPORT(cause) int64_t catenary_cause(void *buf, uint32_t cap);

/* Writes one line to the server's log. */
CATENARY_IMPORT(log) void catenary_log(int32_t level, const char *buf, uint32_t len);

/* Says why the call fails; the first reason counts. */
CATENARY_IMPORT(fail) void catenary_fail(const char *buf, uint32_t len);

/* What the function is: the caller's items come from in, and its answers go to out. */
CATENARY_EXPORT(catenary_call) int32_t catenary_call(int32_t in, int32_t out);

/* Optional: called before the instance is captured, to tidy up. */
/* CATENARY_EXPORT(catenary_prepare) void catenary_prepare(int64_t mem_bytes); */

#ifdef __cplusplus
}
#endif

#endif
