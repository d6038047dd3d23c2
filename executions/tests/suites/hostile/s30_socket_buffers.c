/* Kernel memory in socket buffers: sockets x processes, each filled to the brim. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char block[65536];
    int children = atoi(argv[1]), sockets = atoi(argv[2]), size = 1 << 24;
    long *total = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < children; i++) {
        if (fork() != 0)
            continue;
        for (int j = 0; j < sockets; j++) {
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
                break;
            for (int k = 0; k < 2; k++) {
                setsockopt(pair[k], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
                fcntl(pair[k], F_SETFL, O_NONBLOCK);
                for (ssize_t n; (n = write(pair[k], block, sizeof block)) > 0;)
                    __sync_fetch_and_add(total, n);
            }
        }
        pause();
    }
    for (long last = -1; last != *total; usleep(300000))
        last = *total;
    printf("%ld MiB in buffers\n", *total >> 20);
    printf("%s\nDONE\n", *total >> 20 > 512 ? "ACHIEVED more than twice the memory limit" : "denied");
    fflush(stdout);
    _exit(0);
}
