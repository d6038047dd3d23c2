#include <stdio.h>
int main(void)
{
    printf("before\n");
    fflush(stdout);
    volatile int *nowhere = 0;
    return *nowhere;
}
