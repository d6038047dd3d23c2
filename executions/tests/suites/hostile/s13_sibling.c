/* CLONE_PARENT makes the child a child of the agent; it must neither live nor confuse. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    for (int i = 0; i < 5; i++) {
        long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
            if (i < 2)
                _exit(0); /* ends before the program: not its result */
            execl("/usr/bin/sleep", "sleep", "1000", NULL);
        }
    }
    usleep(300000);
    printf("DONE\n");
    fflush(stdout);
    exit(9);
}
