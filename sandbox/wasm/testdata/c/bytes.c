/* bytes uses the input and the output as any program uses files: it sends back what read gives, in pieces of at most 4
 * bytes, each as an item of its own, a byte string. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "catenary.h"

int32_t catenary_call(int32_t in, int32_t out) {
  char buf[4];
  for (;;) {
    ssize_t n = read(in, buf, sizeof buf);
    if (n == 0) return CATENARY_OK;
    if (n < 0) {
      const char *why = strerror(errno);
      catenary_fail(why, strlen(why));
      return CATENARY_FAILED;
    }
    char item[5] = {(char)(0x40 + n)}; /* CBOR: a byte string of n bytes */
    memcpy(item + 1, buf, n);
    if (write(out, item, n + 1) != n + 1) return CATENARY_HOST;
  }
}
