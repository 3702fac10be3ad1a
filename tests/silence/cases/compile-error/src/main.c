#include <parigot.h>

int main(void) {
	parigot_lunch();
	return 0;
}
