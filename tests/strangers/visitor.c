/* A program in plain C, written from schemas/abi.md alone: it visits the Desk and the Ring and prints what they say. */
#include "parigot_by_hand.h"

static void visit(int32_t service, const char *name, const char *text) {
  static char request[130], reply[200];
  int32_t id = k_method(service, name, (int32_t)strlen(name));
  int32_t len = (int32_t)strlen(text), got, status;
  int64_t result;
  request[0] = 10;
  request[1] = (char)len;
  memcpy(request + 2, text, len);
  result = k_call(service, id, request, len ? len + 2 : 0, reply, 4, 0); /* 4: most replies must be fetched */
  status = (int32_t)(result >> 32) & 0xff;
  got = (int32_t)result;
  if (status || got > 4) got = k_fetch(reply, sizeof reply);
  if (status)
    printf("%s: error %d: %.*s\n", name, status, got, reply);
  else if (reply[0] == 10)
    printf("%s: %.*s\n", name, got - 2, reply + 2);
  else
    printf("%s: %d\n", name, reply[1]);
}

int main(void) {
  int32_t desk, ring;
  k_require("stranger.v1.Desk", 16);
  k_require("stranger.v1.Ring", 16);
  k_launch();
  desk = k_locate("stranger.v1.Desk", 16);
  ring = k_locate("stranger.v1.Ring", 16);
  visit(desk, "Shout", "good morning");
  visit(desk, "Ticket", "");
  visit(desk, "Ticket", "");
  visit(ring, "Next", "");
  visit(ring, "Later", "");
  visit(desk, "Refused", "");
  visit(desk, "Who", "");
  return 7;
}
