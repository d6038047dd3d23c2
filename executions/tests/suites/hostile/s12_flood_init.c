/* A descriptor of /proc/1 serves as a pidfd: flood init with what it may be sent. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
    int handle = open("/proc/1", O_RDONLY | O_DIRECTORY);
    siginfo_t info = {.si_code = SI_QUEUE};
    for (int i = 0; handle >= 0 && i < 200000; i++) {
        int number = i % 3 ? SIGCHLD : SIGRTMIN + i % 30;
        info.si_signo = number;
        syscall(424, handle, number, i % 2 ? &info : NULL, 0);
    }
    printf("DONE\n");
    fflush(stdout);
    return 7;
}
