/* Use CPU in different shapes; the whole tree's time counts. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *spin(void *unused)
{
    for (volatile unsigned long i = 0;; i++)
        ;
    return unused;
}

static void burn(long ms)
{
    struct timespec now;
    do
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < ms);
}

int main(int argc, char **argv)
{
    const char *kind = argv[1];
    printf("begin %s\n", kind);
    fflush(stdout);
    if (strcmp(kind, "threads") == 0) {
        pthread_t threads[8];
        for (int i = 0; i < 8; i++)
            pthread_create(&threads[i], NULL, spin, NULL);
        pthread_join(threads[0], NULL);
    } else if (strcmp(kind, "ignore") == 0) {
        for (int i = 1; i < 65; i++)
            signal(i, SIG_IGN);
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, NULL);
        spin(NULL);
    } else if (strcmp(kind, "children") == 0) {
        for (int i = 0; i < 6; i++)
            if (fork() == 0)
                spin(NULL);
        for (int i = 0; i < 6; i++)
            wait(NULL);
    } else if (strcmp(kind, "relay") == 0) {
        for (;;) { /* each child is short, and reaped */
            if (fork() == 0) {
                burn(40);
                _exit(0);
            }
            wait(NULL);
        }
    } else if (strcmp(kind, "orphans") == 0) {
        for (;;) { /* each is short, never reaped by us, and its parent is gone */
            if (fork() == 0) {
                setsid();
                if (fork() == 0)
                    burn(40);
                _exit(0);
            }
            wait(NULL);
            usleep(30000);
        }
    } else if (strcmp(kind, "hidden") == 0) {
        if (fork() == 0) {
            setsid();
            spin(NULL);
        }
        for (;;)
            pause();
    } else if (strcmp(kind, "system") == 0) {
        for (;;)
            getppid();
    } else {
        spin(NULL);
    }
    printf("ACHIEVED the end\n");
}
