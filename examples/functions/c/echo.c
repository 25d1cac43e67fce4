/* echo sends its input back, item by item. It waits for one thing at a time, so it need not set anything non-blocking. */
#include <stdlib.h>
#include <string.h>

#include "catenary.h"

static int32_t failed(const char *why) {
  catenary_fail(why, strlen(why));
  return CATENARY_FAILED;
}

int32_t catenary_call(int32_t in, int32_t out) {
  uint32_t cap = 4096;
  char *buf = malloc(cap);
  if (!buf) return failed("out of memory");
  for (;;) {
    int64_t n = catenary_item_recv(in, buf, cap);
    if (n == CATENARY_END) break;
    if (n < 0) return CATENARY_HOST; /* the host knows why */
    if (n > cap) {                   /* not taken: come again with room for it */
      cap = n;
      free(buf);
      if (!(buf = malloc(cap))) return failed("out of memory");
      continue;
    }
    if (catenary_item_send(out, buf, n) != 0) return CATENARY_HOST;
  }
  free(buf);
  return CATENARY_OK;
}
