/* A relay: every child forks the next and dies, so that no pid lives long enough. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    printf("DONE\n");
    fflush(stdout);
    if (fork() == 0) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        for (;;) {
            pid_t child = fork();
            if (child > 0)
                _exit(0);
            if (child == 0)
                setpgid(0, 0);
        }
    }
    return 0;
}
