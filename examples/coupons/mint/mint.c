/* The mint: knows a key, and what coupon belongs to a name. A checksum is enough for an example; it is no cryptography. */
#include <parigot.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t mixed(uint64_t sum, const uint8_t *data, size_t len) {
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ data[i]) * 0x100000001b3; /* FNV-1a */
	return sum;
}

static void coin(parigot_call_t call, const void *req, size_t len) {
	const char *key = getenv("COUPON_KEY");
	if (key == NULL || *key == '\0') {
		parigot_fail(call, PARIGOT_FAILED_PRECONDITION, "the mint has no key");
		return;
	}
	uint64_t sum = mixed(0xcbf29ce484222325, (const uint8_t *)key, strlen(key));
	pb_reader_t r = pb_read(req, len);
	while (pb_next(&r))
		if (r.field == 1 && r.type == PB_BYTES)
			sum = mixed(sum, r.data, r.len);
	if (r.malformed) {
		parigot_fail(call, PARIGOT_INVALID_ARGUMENT, "the request is no coupons.v1.CoinRequest");
		return;
	}
	char text[17];
	snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
	parigot_buf_t reply = {0};
	pb_put_text(&reply, 1, text);
	if (reply.failed)
		parigot_fail(call, PARIGOT_RESOURCE_EXHAUSTED, "no memory for the coupon");
	else
		parigot_reply(call, reply.data, reply.len);
	parigot_buf_free(&reply);
}

int main(void) {
	int32_t service = parigot_service("coupons.v1.MintService");
	parigot_method(service, "Coin", coin);
	parigot_launch();
	parigot_serve();
}
