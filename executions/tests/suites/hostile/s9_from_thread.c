/* The same refusals hold in threads, children, and after exec. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static void attempts(const char *who)
{
    if (unshare(CLONE_NEWUSER) == 0)
        printf("ACHIEVED a user namespace in a %s\n", who);
    if (unshare(CLONE_NEWNS) == 0)
        printf("ACHIEVED a mount namespace in a %s\n", who);
    if (mount("none", "/tmp", "tmpfs", 0, NULL) == 0)
        printf("ACHIEVED a mount in a %s\n", who);
    if (chroot(".") == 0)
        printf("ACHIEVED chroot in a %s\n", who);
}

static void *thread(void *unused)
{
    attempts("thread");
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t one;
    attempts("main");
    pthread_create(&one, NULL, thread, NULL);
    pthread_join(one, NULL);
    if (fork() == 0) {
        attempts("child");
        return 0;
    }
    wait(NULL);
    if (argc == 1 || strcmp(argv[argc - 1], "again") != 0) {
        fflush(stdout);
        execl("/proc/self/exe", "main", "again", NULL);
        execl(argv[0], "main", "again", NULL);
    }
    printf("DONE\n");
}
