/* probe asks the host what the documentation of the ABI promises, and fails with the line that it does not keep. The test
 * sends the first item at once, an empty one when it reads "empty" in the log, and ends the input when it reads "end". */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

#include "catenary.h"

#define WANT(got, want)                                                                             \
  do {                                                                                              \
    long long g = (got), w = (want);                                                                \
    if (g != w) {                                                                                   \
      char why[200];                                                                                \
      int n = snprintf(why, sizeof why, "line %d: %s is %lld, want %lld", __LINE__, #got, g, w);    \
      catenary_fail(why, n);                                                                        \
      return CATENARY_FAILED;                                                                       \
    }                                                                                               \
  } while (0)

static int32_t open_text(const char *request) { return catenary_open(request, strlen(request)); }

static void say(const char *line) { catenary_log(CATENARY_INFO, line, strlen(line)); }

static int wait_for(int fd, short events, int ms) {
  struct pollfd p = {.fd = fd, .events = events};
  return poll(&p, 1, ms) == 1 ? p.revents : 0;
}

int32_t catenary_call(int32_t in, int32_t out) {
  char buf[64];
  struct catenary_item item;
  __wasi_fdstat_t stat;

  /* A descriptor that blocks. */
  WANT(__wasi_fd_fdstat_get(in, &stat), 0);
  WANT(stat.fs_filetype, 6);
  WANT(stat.fs_flags, 0);
  WANT(wait_for(in, POLLRDNORM, 1000), POLLRDNORM); /* always ready */
  WANT(catenary_item_info(in, &item), 44);          /* nothing was received */
  WANT(catenary_item_recv(in, buf, 2), 6);          /* too little room: not taken */
  WANT(catenary_item_recv(in, buf, sizeof buf), 6);
  WANT(memcmp(buf, "\x65"
                   "first",
              6),
       0);
  WANT(catenary_item_info(in, &item), 0);
  WANT(item.seq, 4);
  WANT(item.turn, 5);
  WANT(item.time_ns, 6000000007);

  /* One that does not. */
  WANT(fcntl(in, F_SETFL, O_NONBLOCK), 0);
  WANT(__wasi_fd_fdstat_get(in, &stat), 0);
  WANT(stat.fs_flags, 4);
  WANT(catenary_item_recv(in, buf, sizeof buf), CATENARY_AGAIN);
  WANT(read(in, buf, sizeof buf), -1);
  WANT(errno, EAGAIN);
  WANT(wait_for(in, POLLRDNORM, 2), 0);
  WANT(catenary_item_info(in, &item), 0); /* that of the last one still */

  /* An item without bytes is not the end. */
  say("empty");
  WANT(wait_for(in, POLLRDNORM, -1), POLLRDNORM);
  WANT(catenary_item_recv(in, buf, sizeof buf), 0);
  WANT(catenary_item_recv(in, buf, sizeof buf), CATENARY_AGAIN);
  say("end");
  WANT(fcntl(in, F_SETFL, 0), 0); /* and now it blocks again */
  WANT(catenary_item_recv(in, buf, sizeof buf), CATENARY_END);
  WANT(catenary_item_recv(in, buf, sizeof buf), CATENARY_END);
  WANT(read(in, buf, sizeof buf), 0);

  /* What they are not for. */
  WANT(catenary_item_send(in, "\x01", 1), 8);
  WANT(catenary_item_mark(in, 1, 0), 8);
  WANT(catenary_item_mark(out, -1, 0), 28);
  WANT(catenary_item_recv(out, buf, sizeof buf), CATENARY_RECV_FAILED);
  WANT(catenary_item_info(out, &item), 8);
  WANT(catenary_item_send(out, "", 0), 28);
  WANT(open_text("turns:now"), -28);
  WANT(open_text("newblob:"), -28);
  WANT(open_text("nothing"), -28);
  WANT(open_text("model:other"), -2);
  WANT(open_text("blob:sha256:00"), -44);
  WANT(wait_for(1000, POLLRDNORM, -1), POLLNVAL);
  __wasi_event_t events[1];
  __wasi_size_t n;
  WANT(__wasi_poll_oneoff(0, events, 0, &n), 28);

  /* A generation; the request is {messages: []} in CBOR. */
  int32_t llm = open_text("model:llm");
  WANT(catenary_item_recv(llm, buf, sizeof buf), CATENARY_RECV_FAILED);
  WANT(catenary_item_info(llm, &item), 28); /* nothing was asked */
  WANT(catenary_item_mark(llm, 9, 0), 0);
  WANT(catenary_item_send(llm, "{", 1), 28);
  WANT(catenary_item_send(llm, "\xa1\x68messages\x80", 11), 0);
  WANT(catenary_item_mark(llm, 9, 0), 28);
  WANT(catenary_item_send(llm, "\xa1\x68messages\x80", 11), 28);
  WANT(catenary_item_recv(llm, buf, sizeof buf), CATENARY_RECV_FAILED);
  WANT(catenary_item_info(llm, &item), 27); /* turn 9 is over */

  /* The turns, a number in CBOR. */
  int32_t turns = open_text("turns:");
  WANT(fcntl(turns, F_SETFL, O_NONBLOCK), 0);
  WANT(wait_for(turns, POLLRDNORM, -1), POLLRDNORM);
  WANT(catenary_item_recv(turns, buf, sizeof buf), 1);
  WANT(buf[0], 10);
  WANT(catenary_item_recv(turns, buf, sizeof buf), CATENARY_AGAIN);

  /* Numbers, and how many there are: in, out, llm and turns are open. */
  WANT(close(turns), 0);
  WANT(close(turns), -1);
  WANT(errno, EBADF);
  WANT(catenary_item_recv(turns, buf, sizeof buf), CATENARY_RECV_FAILED);
  WANT(catenary_item_info(turns, &item), 8);
  for (int i = 0; i < 61; i++) WANT(open_text("newblob:x/y"), turns + 1 + i);
  WANT(open_text("newblob:x/y"), -33);
  WANT(close(turns + 1), 0);
  WANT(open_text("newblob:x/y"), turns + 62); /* never used again */

  /* The output that does not block: one item may be under way. */
  WANT(fcntl(out, F_SETFL, O_NONBLOCK), 0);
  WANT(wait_for(out, POLLWRNORM, -1), POLLWRNORM);
  WANT(catenary_item_mark(out, 2, 8), 0);
  WANT(catenary_item_send(out, "1", 1), 0);
  WANT(catenary_item_send(out, "2", 1), 6);
  WANT(wait_for(out, POLLWRNORM, 2), 0);
  WANT(write(out, "2", 1), -1);
  WANT(errno, EAGAIN);
  say("busy");
  WANT(wait_for(out, POLLWRNORM, -1), POLLWRNORM);
  WANT(catenary_item_send(out, "2", 1), 0);
  WANT(close(out), 0);
  return CATENARY_OK;
}
