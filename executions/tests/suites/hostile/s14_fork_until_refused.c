/* Fork until refused; the number of processes is the limit's, and the refusal is EAGAIN. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int limit = atoi(argv[1]), made = 0;
    for (; made < 10000; made++) {
        pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        if (child < 0)
            break;
    }
    if (made > limit)
        printf("ACHIEVED %d processes\n", made);
    printf("refused with EAGAIN: %d\nDONE\n", errno == EAGAIN);
    fflush(stdout);
    _exit(0);
}
