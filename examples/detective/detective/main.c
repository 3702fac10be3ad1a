/*
 * The detective: prints all that a guest can observe of what is around it. Whatever it prints is the same in every mode and on
 * every machine. With the argument --clock it prints instead what it read off the clocks and the random numbers: the same only
 * under `run --seed`.
 */
#include "detective.h"

int main(int argc, char **argv) {
	bool readings = argc > 1 && strcmp(argv[1], "--clock") == 0;
	if (readings) {
		parigot_require(SUSPECT);
		parigot_launch();
		print_readings();
		return 0;
	}
	look_before_launch();
	parigot_require(SUSPECT);
	parigot_launch();
	look_at_surroundings(argc, argv);
	look_at_clocks();
	look_after_launch();
	look_at_calls();
	look_at_failures();
	return 0;
}
