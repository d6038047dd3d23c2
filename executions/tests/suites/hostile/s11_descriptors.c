/* Only 0, 1 and 2, and those are pipes or /dev/null. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
    char path[64], target[256];
    for (int fd = 0; fd < 65536; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        if (fd > 2)
            printf("ACHIEVED descriptor %d: %s\n", fd, target);
        else if (strncmp(target, "pipe:", 5) != 0 && strcmp(target, "/dev/null") != 0)
            printf("ACHIEVED descriptor %d is %s\n", fd, target);
    }
    printf("DONE\n");
}
