/* The shop: takes orders, and asks the mint what coupon belongs to who orders. It does not know the mint's key. */
#include <parigot.h>

enum { PRICE = 1000, WITH_COUPON = 900 };

static int32_t mint, coin_method;

typedef struct {
	const uint8_t *data;
	size_t len;
} text_t;

/* A text field of a message; empty where it is not there. */
static text_t field(const void *data, size_t len, uint32_t number) {
	text_t found = {0};
	for (pb_reader_t r = pb_read(data, len); pb_next(&r);)
		if (r.field == number && r.type == PB_BYTES)
			found = (text_t){r.data, r.len};
	return found;
}

static void order(parigot_call_t call, const void *req, size_t len) {
	text_t name = field(req, len, 1), shown = field(req, len, 2);
	parigot_buf_t request = {0}, coined = {0}, reply = {0};
	pb_put_bytes(&request, 1, name.data, name.len);
	int32_t status = parigot_call(mint, coin_method, request.data, request.len, &coined, 0);
	if (status != PARIGOT_OK) {
		parigot_fail(call, status, parigot_buf_text(&coined));
	} else {
		text_t coupon = field(coined.data, coined.len, 1);
		if (shown.len == 0) {
			pb_put_uint(&reply, 1, PRICE);
			pb_put_bytes(&reply, 2, coupon.data, coupon.len);
			parigot_reply(call, reply.data, reply.len);
		} else if (shown.len == coupon.len && memcmp(shown.data, coupon.data, shown.len) == 0) {
			pb_put_uint(&reply, 1, WITH_COUPON);
			parigot_reply(call, reply.data, reply.len);
		} else {
			parigot_fail(call, PARIGOT_PERMISSION_DENIED, "this coupon is somebody else's");
		}
	}
	parigot_buf_free(&request);
	parigot_buf_free(&coined);
	parigot_buf_free(&reply);
}

int main(void) {
	parigot_require("coupons.v1.MintService");
	int32_t service = parigot_service("coupons.v1.ShopService");
	parigot_method(service, "Order", order);
	parigot_launch();
	mint = parigot_locate("coupons.v1.MintService");
	coin_method = parigot_resolve(mint, "Coin");
	parigot_serve();
}
