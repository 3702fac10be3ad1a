/*
 * A service that shows what it was sent beside a request, and sends back as much beside its answer: an error when the request is
 * "fail". tests/guests/go/mirror is the same in Go.
 */
#include <parigot.h>
#include <stdio.h>

static const char *const NAMES[] = {"x-empty", "x-in", "x-long", "x-upper", "x-none"};

static void put(parigot_call_t call, const char *key, const char *value) {
	if (parigot_set(call, key, value) != PARIGOT_OK)
		abort();
}

/* What must be refused: too long, the kernel's own, not printable, no Any. */
static void add_refusals(parigot_call_t call, parigot_buf_t *text) {
	static char large[20000];
	memset(large, 'x', sizeof large - 1);
	int32_t codes[] = {
	    parigot_set(call, "header:x-large", large), parigot_set(call, "header:content-type", "x"),
	    parigot_set(call, "trailer:x-line", "a\nb"), parigot_set(call, "error-details", "none"),
	    parigot_add_detail(call, "demo.Large", large, sizeof large),
	};
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		const char *name = parigot_code_name(codes[i]);
		parigot_buf_add(text, name, strlen(name));
		parigot_buf_add(text, " ", 1);
	}
}

static void reflect(parigot_call_t call, const void *req, size_t len) {
	parigot_buf_t text = {0}, value = {0};
	for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
		char key[32], length[16];
		snprintf(key, sizeof key, "header:%s", NAMES[i]);
		bool there = parigot_get(call, key, &value) == PARIGOT_OK;
		snprintf(length, sizeof length, there ? "%zu " : "- ", value.len);
		parigot_buf_add(&text, length, strlen(length));
		if (there && value.len < 100)
			put(call, key, parigot_buf_text(&value));
	}
	put(call, "header:X-Multi", "one");
	put(call, "header:x-multi", "two");
	put(call, "trailer:x-end", " ta il ");
	put(call, "trailer:x-data-bin", "AAEC/w==");
	if (len == 4 && memcmp(req, "fail", 4) == 0) {
		parigot_add_detail(call, "demo.Detail", "\0\1\2\377", 4);
		parigot_add_detail(call, "demo.Other", NULL, 0);
		parigot_fail(call, PARIGOT_NOT_FOUND, "%s", "nothing h\xc3\xa9re");
	} else {
		add_refusals(call, &text);
		parigot_reply(call, text.data, text.len);
	}
	parigot_buf_free(&text);
	parigot_buf_free(&value);
}

int main(void) {
	parigot_method(parigot_service("test.v1.Mirror"), "Reflect", reflect);
	parigot_launch();
	parigot_serve();
}
