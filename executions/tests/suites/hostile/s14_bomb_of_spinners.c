/* As many spinning, forking, signal-proof processes as allowed. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    printf("begin\n");
    fflush(stdout);
    for (int i = 1; i < 65; i++)
        signal(i, SIG_IGN);
    for (;;)
        fork();
}
