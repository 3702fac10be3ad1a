/* What the parts of the detective share. Each look_at_ function prints one section. */
#ifndef DETECTIVE_H
#define DETECTIVE_H

#include <parigot.h>

#define SUSPECT "detective.v1.SuspectService"

void look_at_surroundings(int argc, char **argv); /* surroundings.c: arguments, environment, descriptors, paths, sockets */
void look_at_clocks(void);                        /* clocks.c */
void print_readings(void);                        /* clocks.c: the values themselves, for runs under a seed */
void look_before_launch(void);                    /* kernel.c: order and pointers */
void look_after_launch(void);                     /* kernel.c */
void look_at_calls(void);                         /* calls.c */
void look_at_failures(void);                      /* calls.c */

/* report.c: one line each. The results are as the kernel's functions give them. */
void say_section(const char *title);
void say_result(const char *what, int32_t result);
void say_call(const char *what, int64_t result);

#endif
