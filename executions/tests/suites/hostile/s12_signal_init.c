/* Send every signal to the init of the box, its group, and everyone; then go on. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    siginfo_t info = {.si_code = SI_QUEUE};
    for (int round = 0; round < 50; round++) {
        for (int number = 1; number <= 64; number++) {
            syscall(SYS_kill, 1, number);
            syscall(SYS_tkill, 1, number);
            syscall(SYS_tgkill, 1, 1, number);
            info.si_signo = number;
            syscall(SYS_rt_sigqueueinfo, 1, number, &info);
        }
    }
    int fd = syscall(434, 1, 0); /* pidfd_open */
    for (int number = 1; fd >= 0 && number <= 64; number++)
        syscall(424, fd, number, NULL, 0); /* pidfd_send_signal */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    kill(-1, SIGTERM);
    kill(-1, SIGSTOP);
    kill(-1, SIGCONT);
    kill(-1, SIGKILL);
    usleep(200000);
    printf("DONE\n");
    fflush(stdout);
    return 7;
}
