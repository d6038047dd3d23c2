#include <stdio.h>
static long down(long n) { volatile char frame[400]; frame[0] = 1; return n == 0 ? 0 : frame[0] + down(n - 1); }
int main(void) { printf("%ld\n", down(100000)); }
