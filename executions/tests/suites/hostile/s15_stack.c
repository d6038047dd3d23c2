/* Endless recursion: the stack limit ends it with a signal, not the memory limit. */
#include <stdio.h>
static volatile char sink;
static int down(int depth)
{
    char frame[65536];
    frame[depth % 65536] = (char)depth;
    sink = frame[0];
    return down(depth + 1) + frame[1];
}
int main(void)
{
    printf("begin\n");
    fflush(stdout);
    return down(0);
}
