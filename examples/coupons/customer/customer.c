/* Orders, once without a coupon and once with the one that it got; then somebody else tries it. */
#include <parigot.h>
#include <stdio.h>

static int32_t shop, order_method;
static char coupon[64];

/* False: the order failed. */
static bool order(const char *name, const char *with) {
	parigot_buf_t request = {0}, reply = {0};
	pb_put_text(&request, 1, name);
	pb_put_text(&request, 2, with);
	int32_t status = parigot_call(shop, order_method, request.data, request.len, &reply, 0);
	if (status == PARIGOT_OK) {
		uint64_t cents = 0;
		for (pb_reader_t r = pb_read(reply.data, reply.len); pb_next(&r);) {
			if (r.field == 1 && r.type == PB_VARINT)
				cents = r.number;
			if (r.field == 2 && r.type == PB_BYTES)
				snprintf(coupon, sizeof coupon, "%.*s", (int)r.len, (const char *)r.data);
		}
		printf("%s pays %d cents\n", name, (int)cents);
	} else {
		printf("%s pays nothing: %s: %s\n", name, parigot_code_name(status), parigot_buf_text(&reply));
	}
	parigot_buf_free(&request);
	parigot_buf_free(&reply);
	return status == PARIGOT_OK;
}

int main(void) {
	parigot_require("coupons.v1.ShopService");
	parigot_launch();
	shop = parigot_locate("coupons.v1.ShopService");
	order_method = parigot_resolve(shop, "Order");

	bool well = order("Ella", "");
	printf("and gets the coupon %s\n", coupon);
	well = order("Ella", coupon) && well;
	well = !order("Mallory", coupon) && well;
	return well ? 0 : 1;
}
