/*
 * Sends what stands on stdin to the first link of a chain, the service in its argument: a length (u32) and a request, again and
 * again. For each it writes the status (u32), the length of the reply or of the error's text (u32), and the bytes.
 */
#include "parigot.h"

#include <stdio.h>

int main(int argc, char **argv) {
	(void)argc;
	parigot_require(argv[1]);
	parigot_launch();
	int32_t handle = parigot_locate(argv[1]), method = parigot_resolve(handle, "Relay");
	uint8_t *request = NULL;
	parigot_buf_t reply = {0};
	for (uint32_t len; fread(&len, sizeof len, 1, stdin) == 1;) {
		request = realloc(request, len);
		if (fread(request, 1, len, stdin) != len)
			return 1;
		int32_t status = parigot_call(handle, method, request, len, &reply, 0);
		uint32_t head[2] = {(uint32_t)status, (uint32_t)reply.len};
		fwrite(head, sizeof head, 1, stdout);
		fwrite(reply.data, 1, reply.len, stdout);
	}
	fflush(stdout);
	return 0;
}
