/* Signals that the kernel sends for us: SIGIO, SIGURG and timers, aimed at init. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
    int targets[] = {1, -1};
    int pair[2], pipes[2];
    for (int t = 0; t < 2; t++) {
        for (int number = 0; number <= 64; number++) {
            if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || pipe(pipes) != 0)
                return 1;
            int ends[] = {pair[0], pipes[0], 0, 1};
            for (int i = 0; i < 4; i++) {
                fcntl(ends[i], F_SETOWN, targets[t]);
                struct f_owner_ex owner = {t ? F_OWNER_PGRP : F_OWNER_TID, 1};
                fcntl(ends[i], F_SETOWN_EX, &owner);
                fcntl(ends[i], F_SETSIG, number);
                fcntl(ends[i], F_SETFL, fcntl(ends[i], F_GETFL) | O_ASYNC);
            }
            if (write(pair[1], "x", 1) < 0 || write(pipes[1], "x", 1) < 0)
                return 1;
            for (int i = 2; i < 4; i++)
                fcntl(ends[i], F_SETFL, fcntl(ends[i], F_GETFL) & ~O_ASYNC);
            close(pair[0]), close(pair[1]), close(pipes[0]), close(pipes[1]);
        }
    }
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGKILL};
    event._sigev_un._tid = 1;
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        printf("ACHIEVED a timer that signals init\n");
    if (ioctl(0, 0x5410, &(int){1}) == 0) /* TIOCSPGRP */
        printf("ACHIEVED a terminal\n");
    usleep(100000);
    printf("DONE\n");
    fflush(stdout);
    return 8;
}
