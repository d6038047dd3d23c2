#include "@@bait_file@@"
int main(void) { return 0; }
