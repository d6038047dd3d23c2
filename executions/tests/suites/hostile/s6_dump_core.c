/* Ask for core dumps of any size and of the whole memory, then crash. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int main(void)
{
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &all) == 0)
        printf("ACHIEVED an unlimited core\n");
    prctl(PR_SET_DUMPABLE, 1);
    char *block = malloc(64 << 20);
    memset(block, 'x', 64 << 20);
    if (fork() == 0)
        raise(SIGQUIT);
    sleep(1);
    if (access("core", F_OK) == 0)
        printf("ACHIEVED a core file\n");
    printf("DONE\n");
    fflush(stdout);
    abort();
}
