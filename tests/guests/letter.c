/*
 * A program that sends metadata beside its requests to test.v1.Mirror and prints what comes back beside the answers.
 * tests/guests/go/letter is the same in Go.
 */
#include <parigot.h>
#include <stdio.h>

static int32_t handle, method;

static void show(const char *kind, const char *const *names) {
	parigot_buf_t value = {0};
	printf("%ss:", kind);
	for (; *names != NULL; names++) {
		char key[32];
		snprintf(key, sizeof key, "%s:%s", kind, *names);
		if (parigot_get(0, key, &value) == PARIGOT_OK)
			printf(" %s=%s", *names, parigot_buf_text(&value));
	}
	printf("\n");
	parigot_buf_free(&value);
}

static void show_detail(const char *type) {
	parigot_buf_t value = {0};
	if (parigot_get_detail(type, &value) == PARIGOT_OK) {
		printf(" %s=", type);
		for (size_t i = 0; i < value.len; i++)
			printf("%02x", value.data[i]);
	}
	parigot_buf_free(&value);
}

static void send(const char *text) {
	parigot_buf_t reply = {0};
	int32_t status = parigot_call(handle, method, text, strlen(text), &reply, 0);
	printf("%s %s\n", parigot_code_name(status), parigot_buf_text(&reply));
	show("header", (const char *const[]){"x-empty", "x-in", "x-multi", "x-none", "x-upper", NULL});
	show("trailer", (const char *const[]){"x-data-bin", "x-end", NULL});
	printf("details:");
	show_detail("demo.Detail");
	show_detail("demo.Other");
	show_detail("demo.None");
	printf("\n");
	parigot_buf_free(&reply);
}

static void set(const char *key, const char *value) { printf("%s ", parigot_code_name(parigot_set(0, key, value))); }

int main(void) {
	static char large[8001];
	memset(large, 'x', sizeof large - 1);
	parigot_require("test.v1.Mirror");
	parigot_launch();
	handle = parigot_locate("test.v1.Mirror");
	method = parigot_resolve(handle, "Reflect");
	set("header:x-in", "a");
	set("header:x-in", "b, c");
	set("header:x-empty", "");
	set("header:X-Upper", "Yes");
	set("header:x-long", large);
	printf("\n");
	send("answer");
	set("header:x-in", "again");
	printf("\n");
	send("fail");
	set("header:x-in", "lost"); /* goes with the one that is refused */
	set("header:x-line", "a\nb");
	printf("\n");
	send("answer");
	return 0;
}
