/* Ask for core dumps of any size and of the whole memory, then crash. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
    struct rlimit now, wishes[] = {{RLIM_INFINITY, RLIM_INFINITY}, {1 << 30, 1 << 30}, {0, 1}, {0, 0}};
    for (int i = 0; i < 4; i++) {
        setrlimit(RLIMIT_CORE, &wishes[i]);
        syscall(SYS_setrlimit, RLIMIT_CORE, &wishes[i]);
        prlimit(0, RLIMIT_CORE, &wishes[i], &now);
        prlimit(getpid(), RLIMIT_CORE, &wishes[i], &now);
    }
    getrlimit(RLIMIT_CORE, &now);
    /* Of one byte: with any other, a host's handler of dumps would be started. */
    if (now.rlim_cur != 1 || now.rlim_max != 1)
        printf("ACHIEVED another limit: %lu %lu\n", now.rlim_cur, now.rlim_max);
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
