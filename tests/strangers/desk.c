/* A service in plain C, written from schemas/abi.md alone.
 * stranger.v1.Desk: Shout makes capitals, Ticket asks the Ring for a number, Refused passes the Ring's error on. */
#include "parigot_by_hand.h"

enum { SHOUT = 10, TICKET = 20, REFUSED = 30, WHO = 40 };

static int32_t ring, next, fail;

int main(void) {
  int32_t me;
  k_require("stranger.v1.Ring", 16);
  me = k_export("stranger.v1.Desk", 16);
  k_bind(me, "Shout", 5, SHOUT);
  k_bind(me, "Ticket", 6, TICKET);
  k_bind(me, "Refused", 7, REFUSED);
  k_bind(me, "Who", 3, WHO);
  k_launch();
  ring = k_locate("stranger.v1.Ring", 16);
  next = k_method(ring, "Next", 4);
  fail = k_method(ring, "Fail", 4);
  if (ring < 0 || next < 0 || fail < 0) return 1; /* not ready */
  if (k_method(ring, "Nonsense", 8) != -12) return 1;
  if (k_locate("stranger.v1.Desk", 16) != -9) return 1;
  k_serve();
  return 0;
}

EXPORT("parigot_alloc") void *room(int32_t len) { return malloc(len); }

static void answer_text(int32_t call, const char *text) {
  char reply[130] = {10};
  size_t len = strlen(text);
  reply[1] = (char)len;
  memcpy(reply + 2, text, len);
  k_answer(call, 0, reply, (int32_t)len + 2);
}

static void shout(int32_t call, char *request, int32_t len) {
  int32_t i;
  for (i = 2; i < len; i++)
    if (request[i] >= 'a' && request[i] <= 'z') request[i] -= 32;
  k_answer(call, 0, request, len);
}

static void ticket(int32_t call) {
  unsigned char reply[8];
  char text[32];
  int64_t result = k_call(ring, next, NULL, 0, reply, sizeof reply, 0);
  if (result >> 32) {
    k_answer(call, (int32_t)(result >> 32), "no number", 9);
    return;
  }
  snprintf(text, sizeof text, "ticket %d", reply[1]);
  answer_text(call, text);
}

static void refused(int32_t call) {
  char text[100];
  int64_t result = k_call(ring, fail, NULL, 0, NULL, 0, 0);
  int32_t len = k_fetch(text, sizeof text);
  k_answer(call, (int32_t)(result >> 32), text, len);
}

static void who(int32_t call) {
  char name[100] = {0};
  k_get(call, "caller", 6, name, sizeof name - 1);
  answer_text(call, name);
}

EXPORT("parigot_handle") void handle(int32_t call, int32_t service, int32_t method, char *request, int32_t len) {
  (void)service;
  switch (method) {
    case SHOUT: shout(call, request, len); break;
    case TICKET: ticket(call); break;
    case REFUSED: refused(call); break;
    case WHO: who(call); break;
    default: k_answer(call, 13, NULL, 0);
  }
  free(request);
}
