/* Fill scratch after a compile stage that was allowed more of it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char block[1 << 20];
    long cap = atol(argv[1]), total = 0;
    const char *places[] = {".", "/tmp", "/var/tmp", "/dev/shm"};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 100 && total < cap * 4; j++) {
            char path[64];
            snprintf(path, sizeof path, "%s/fill%d", places[i], j);
            int fd = open(path, O_CREAT | O_WRONLY, 0600);
            for (int k = 0; fd >= 0 && k < 16; k++) {
                ssize_t n = write(fd, block, sizeof block);
                total += n > 0 ? n : 0;
            }
            close(fd);
        }
    printf("%s writing %ld MiB\nDONE\n", total > cap * 11 / 10 ? "ACHIEVED" : "denied", total >> 20);
    return 0;
}
