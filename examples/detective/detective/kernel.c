/* The kernel's rules: what belongs before launch and what after it, and what it says to pointers out of memory. */
#include "detective.h"

#include <stdio.h>

static const char *bad(void) { return (const char *)(intptr_t)-2; }

void look_before_launch(void) {
	char byte;
	say_section("before launch");
	say_result("locate", parigot_sys_locate(SUSPECT, strlen(SUSPECT)));
	say_result("method", parigot_sys_method(0, "Repeat", 6));
	say_call("call", parigot_sys_call(0, 0, NULL, 0, NULL, 0, 0));
	say_result("dispatch", parigot_sys_dispatch(0, 0, NULL, 0, 0));
	say_result("timer", parigot_sys_timer(1));
	say_call("wait", parigot_sys_wait(1, NULL, 0, 0));
	say_result("answer", parigot_sys_answer(1, 0, NULL, 0));
	say_result("get", parigot_sys_get(1, "caller", 6, &byte, 1));
	say_result("enter", parigot_sys_enter(1));
	say_result("bind of a service not exported", parigot_sys_bind(0, "M", 1, 0));
	say_result("require of a name that is not UTF-8", parigot_sys_require("\xff", 1));
	say_section("pointers out of memory, before launch");
	say_result("require", parigot_sys_require(bad(), 4));
	say_result("require of a huge length", parigot_sys_require("", UINT32_MAX));
	say_result("export", parigot_sys_export(bad(), 4));
	say_result("bind", parigot_sys_bind(0, bad(), 4, 0));
}

static void look_at_pointers(int32_t handle, int32_t method) {
	char byte;
	say_section("pointers out of memory, after launch");
	say_result("locate", parigot_sys_locate(bad(), 4));
	say_result("method", parigot_sys_method(handle, bad(), 4));
	say_call("call, request", parigot_sys_call(handle, method, bad(), 4, NULL, 0, 0));
	say_call("call, request of a huge length", parigot_sys_call(handle, method, "", UINT32_MAX, NULL, 0, 0));
	say_call("call, reply", parigot_sys_call(handle, method, NULL, 0, (char *)bad(), 4, 0));
	say_call("call, reply of a huge length", parigot_sys_call(handle, method, NULL, 0, &byte, UINT32_MAX, 0));
	say_result("dispatch", parigot_sys_dispatch(handle, method, bad(), 4, 0));
	int32_t id = parigot_sys_dispatch(handle, method, "!", 1, 0);
	say_call("wait", parigot_sys_wait(id, (char *)bad(), 4, -1));
	say_call("wait again, pointer in memory", parigot_sys_wait(id, &byte, 1, -1));
	say_result("fetch", parigot_sys_fetch((char *)bad(), 4));
	say_result("fetch again, pointer in memory", parigot_sys_fetch(&byte, 1));
	say_result("answer", parigot_sys_answer(1, 0, bad(), 4));
	say_result("get, key", parigot_sys_get(0, bad(), 4, &byte, 1));
	say_result("get, value", parigot_sys_get(0, "header:x", 8, (char *)bad(), 4));
	say_result("set, key", parigot_sys_set(0, bad(), 4, "", 0));
	say_result("set, value", parigot_sys_set(0, "header:x", 8, bad(), 4));
}

void look_after_launch(void) {
	say_section("after launch");
	say_result("require", parigot_sys_require(SUSPECT, strlen(SUSPECT)));
	say_result("export", parigot_sys_export("a.B", 3));
	say_result("bind", parigot_sys_bind(0, "M", 1, 0));
	say_result("launch", parigot_sys_launch());
	say_result("locate of a service not required", parigot_sys_locate("log.v1.LogService", 17));
	say_result("locate of no service", parigot_sys_locate("", 0));
	int32_t handle = parigot_locate(SUSPECT), method = parigot_resolve(handle, "Repeat");
	say_result("locate", handle);
	say_result("locate again", parigot_locate(SUSPECT));
	say_result("method", method);
	say_result("method again", parigot_resolve(handle, "Repeat"));
	say_result("method of another name", parigot_resolve(handle, "Vanish"));
	say_result("method of handle 99", parigot_resolve(99, "Repeat"));
	say_call("call of handle 99", parigot_sys_call(99, method, NULL, 0, NULL, 0, 0));
	say_call("call of handle -1", parigot_sys_call(-1, method, NULL, 0, NULL, 0, 0));
	say_call("call of method 9999", parigot_sys_call(handle, 9999, NULL, 0, NULL, 0, 0));
	say_call("call of method -1", parigot_sys_call(handle, -1, NULL, 0, NULL, 0, 0));
	say_result("dispatch of handle 99", parigot_sys_dispatch(99, method, NULL, 0, 0));
	say_result("dispatch of method 9999", parigot_sys_dispatch(handle, 9999, NULL, 0, 0));
	say_call("wait for 4711", parigot_sys_wait(4711, NULL, 0, -1));
	say_result("answer of call 4711", parigot_sys_answer(4711, 0, NULL, 0));
	say_result("enter of call 4711", parigot_sys_enter(4711));
	say_result("enter of call 0", parigot_sys_enter(0));
	look_at_pointers(handle, method);
}
