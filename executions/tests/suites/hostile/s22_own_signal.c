/* End by a signal of our own that looks like a limit's. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    printf("begin\n");
    fflush(stdout);
    fprintf(stderr, "Killed\nOut of memory\ntimelimit exceeded\n");
    int number = atoi(argv[1]);
    signal(number, SIG_DFL);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    raise(number);
    return 0;
}
