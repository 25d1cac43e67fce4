/* both answers every item of its input, and passes on what a model says meanwhile: it waits for two descriptors and the
 * clock at once, by poll. Its manifest has `encoding: json`, streams of any value on both sides and the model llm. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "catenary.h"

enum { IN, MODEL, HANDLES };

static int32_t failed(const char *why) {
  catenary_fail(why, strlen(why));
  return CATENARY_FAILED;
}

/* drain moves what is there from one descriptor to the output. It returns -1 when there is no more for now. */
static int64_t drain(int32_t from, int32_t out) {
  static char buf[64 << 10];
  int64_t n;
  while ((n = catenary_item_recv(from, buf, sizeof buf)) >= 0) {
    if (n > (int64_t)sizeof buf) return CATENARY_RECV_FAILED;
    /* out blocks, so this waits while the reader is busy. */
    if (catenary_item_send(out, buf, n) != 0) return CATENARY_RECV_FAILED;
  }
  return n;
}

int32_t catenary_call(int32_t in, int32_t out) {
  static const char model[] = "model:llm", request[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Count.\"}]}";
  int32_t llm = catenary_open(model, sizeof model - 1);
  if (llm < 0) return CATENARY_HOST;
  struct pollfd fds[HANDLES] = {{.fd = in, .events = POLLRDNORM}, {.fd = llm, .events = POLLRDNORM}};
  for (int i = 0; i < HANDLES; i++)
    if (fcntl(fds[i].fd, F_SETFL, O_NONBLOCK) != 0) return failed(strerror(errno));
  if (catenary_item_send(llm, request, sizeof request - 1) != 0) return CATENARY_HOST;

  for (int open = HANDLES; open > 0;) {
    int n = poll(fds, HANDLES, 10 /* ms */);
    if (n < 0) return failed(strerror(errno));
    if (n == 0) catenary_log(CATENARY_DEBUG, "tick", 4);
    for (int i = 0; i < HANDLES; i++) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      switch (drain(fds[i].fd, out)) {
        case CATENARY_AGAIN:
          break;
        case CATENARY_END:
          fds[i].fd = -1; /* poll passes over it */
          open--;
          break;
        default:
          return CATENARY_HOST;
      }
    }
  }
  return CATENARY_OK;
}
