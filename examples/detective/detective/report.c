/* How the detective writes down what it finds. */
#include "detective.h"

#include <stdio.h>

void say_section(const char *title) { printf("\n%s\n", title); }

void say_result(const char *what, int32_t result) {
	if (result < 0)
		printf("  %s: %s\n", what, parigot_code_name(result));
	else
		printf("  %s: %d\n", what, (int)result);
}

/* A result of call or wait: its status, and the text of an error, which the kernel has for fetch. */
void say_call(const char *what, int64_t result) {
	static char text[1024];
	int32_t status = (int32_t)(result >> 32), len = (int32_t)result;
	if (result == -1)
		printf("  %s: not ended\n", what);
	else if (status == 0)
		printf("  %s: OK, %d bytes\n", what, (int)len);
	else
		printf("  %s: %s%s: %.*s\n", what, parigot_code_name(status & 0xff), status & 0x10000 ? " (not executed)" : "",
		       (int)(parigot_sys_fetch(text, sizeof text) == len ? len : 0), text);
}
