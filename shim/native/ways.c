/* What Python tells the line: its guests, where they are called, and whom they call. */

#include <stdlib.h>
#include <string.h>

#include "line.h"

EXPORTED guest_t *line_guest(line_t *line, int32_t *control, text_t name) {
	guest_t **grown = realloc(line->guests, (size_t)(line->guest_count + 1) * sizeof(guest_t *));
	guest_t *guest = calloc(1, sizeof *guest + name.len);
	if (grown != NULL)
		line->guests = grown;
	if (grown == NULL || guest == NULL) {
		free(guest);
		return NULL;
	}
	put((char *)(guest + 1), name);
	guest->line = line;
	guest->index = line->guest_count;
	guest->control = control;
	guest->name = (text_t){(char *)(guest + 1), name.len};
	line->guests[line->guest_count++] = guest;
	return guest;
}

/* What the kernel does where a function of the guest's is not used in its usual way. */
EXPORTED void guest_kernels(guest_t *guest, const char *name, callback_t kernels) {
	static const char *const names[] = {"answer", "dispatch", "timer", "wait"};
	callback_t *const places[] = {&guest->python_answer, &guest->python_dispatch, &guest->python_timer, &guest->python_wait};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(names[i], name) == 0)
			*places[i] = kernels;
}

/* A fresh instance of the guest. */
EXPORTED void guest_starts(guest_t *guest, const void *memory, uint8_t *base, const void *const functions[3]) {
	guest->memory = memory;
	guest->base = base;
	guest->alloc = functions[0];
	guest->handle = functions[1];
	guest->resume = functions[2];
}

static void forget_methods(way_t *way) {
	for (int32_t method = 0; method < way->method_count; method++)
		way->methods[method].known = false;
}

/* The instance is gone: so is all that leads to it, and what the line holds of it, which Python has taken over. */
EXPORTED void guest_ends(guest_t *guest) {
	line_t *line = guest->line;
	guest->base = NULL;
	guest->barred = false;
	guest->instance++;
	work_release(guest->work);
	guest->work = NULL;
	for (uint32_t i = 0; i < line->route_count; i++)
		if (line->routes[i].guest == guest)
			line->routes[i].guest = NULL;
	for (uint32_t i = 0; i < guest->ways.room; i++) {
		way_t *way = guest->ways.slots[i].number != 0 ? guest->ways.slots[i].value : NULL;
		if (way != NULL)
			forget_methods(way);
	}
	for (int32_t i = 0; i < line->guest_count; i++) {
		const table_t *ways = &line->guests[i]->ways;
		for (uint32_t slot = 0; slot < ways->room; slot++) {
			way_t *way = ways->slots[slot].number != 0 ? ways->slots[slot].value : NULL;
			if (way != NULL && way->callee == guest)
				forget_methods(way);
		}
	}
}

static route_t *route_slot(line_t *line, text_t path, int32_t door) {
	for (uint32_t i = 0; i < line->route_count; i++) {
		route_t *route = &line->routes[i];
		if (route->path.len == path.len && route->door == door && memcmp(route->path.at, path.at, path.len) == 0)
			return route;
	}
	return NULL;
}

route_t *route_of(line_t *line, text_t path, int32_t door) {
	route_t *route = route_slot(line, path, door);
	return route != NULL && route->guest != NULL ? route : NULL;
}

/* A path at which a guest answers who comes in by the door. Returns its number, or -1. */
EXPORTED int32_t line_route(line_t *line, text_t path, int32_t door, guest_t *guest, int32_t service, int32_t method) {
	route_t *route = route_slot(line, path, door);
	if (route == NULL) {
		route_t *grown = realloc(line->routes, (line->route_count + 1) * sizeof *grown);
		char *copy = malloc(path.len);
		if (grown != NULL)
			line->routes = grown;
		if (grown == NULL || copy == NULL) {
			free(copy);
			return -1;
		}
		route = &line->routes[line->route_count++];
		put(copy, path);
		*route = (route_t){.path = {copy, path.len}, .door = door};
	}
	route->guest = guest;
	route->service = service;
	route->method = method;
	return (int32_t)(route - line->routes);
}

/* A handle of the guest's that leads to a peer, or to a guest of this line; NULL: there is no memory. */
EXPORTED way_t *line_way(
    guest_t *guest, int32_t handle, peer_t *peer, guest_t *callee, int32_t methods, callback_t python) {
	way_t *way = calloc(1, sizeof *way);
	if (way == NULL || (way->methods = calloc((size_t)methods, sizeof(method_t))) == NULL) {
		free(way);
		return NULL;
	}
	way->guest = guest;
	way->handle = handle;
	way->peer = peer;
	way->callee = callee;
	way->python = python;
	way->method_count = methods;
	return way;
}

/* The way stands for its handle, in place of any other; to an instance of a guest's that has given the service this number. */
EXPORTED void way_stands(way_t *way, int32_t service) {
	way->service = service;
	table_t *ways = &way->guest->ways;
	table_remove(ways, way->handle + 1);
	if (table_reserve(ways))
		table_add(ways, way->handle + 1, way);
}

/* A method that the guest has resolved: of a peer, by path and host; of a guest, by its own number. */
EXPORTED void way_method(way_t *way, int32_t index, text_t path, text_t host, int32_t number) {
	method_t *method = &way->methods[index];
	method->number = number;
	if (way->peer != NULL) {
		if (path.len + host.len + way->guest->name.len > START_MAX)
			return;
		if (method->head.at == NULL)
			method->head.at = malloc(path.len + host.len + 128);
		if (method->head.at == NULL)
			return;
		method->head.len = (uint32_t)start_request((char *)method->head.at, path, host);
	}
	method->known = true;
}

EXPORTED int guest_reaches(const guest_t *guest, int32_t handle, int32_t method) {
	const way_t *way = table_find(&guest->ways, handle + 1);
	return way != NULL && method < way->method_count && way->methods[method].known;
}

/* What the guest does is the work of this call, or (`sign` is '-') of none: its calls' ids begin so. */
EXPORTED void guest_works(guest_t *guest, text_t id, char sign, int32_t children, int64_t deadline) {
	work_release(guest->work);
	guest->work = id.len < ID_MAX ? work_new(id, sign, (text_t){"", 0}) : NULL; /* heads have room for so much */
	if (guest->work == NULL)
		return;
	guest->work->pythons = sign == '.';
	guest->work->number = sign == '.' ? -1 : 0; /* -1: no call of the line's */
	guest->work->children = children;
	guest->work->deadline = deadline;
	guest->control[KNOWN] = 1;
}
