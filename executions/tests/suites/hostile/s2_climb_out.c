/* Reach the host's root by descriptors: inherited ones, "..", and openat2 tricks. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct stat top, here;
    stat("/", &top);
    for (int fd = 0; fd < 1024; fd++) {
        if (fstat(fd, &here) == 0 && S_ISDIR(here.st_mode))
            printf("ACHIEVED an inherited folder, descriptor %d\n", fd);
    }
    const char *starts[] = {".", "/tmp", "/var/tmp", "/dev/shm", "/proc/self", "/usr/lib", "/"};
    int fd = -1;
    for (int s = 0; s < 7; s++) {
        fd = open(starts[s], O_RDONLY | O_DIRECTORY);
        for (int i = 0; i < 64; i++) {
            int up = openat(fd, "..", O_RDONLY | O_DIRECTORY);
            if (up < 0)
                break;
            close(fd);
            fd = up;
        }
        fstat(fd, &here);
        if (here.st_ino != top.st_ino || here.st_dev != top.st_dev)
            printf("ACHIEVED climbing above the root from %s\n", starts[s]);
    }
    for (char *folder = strtok(argv[1], ":"); folder; folder = strtok(NULL, ":")) {
        if (faccessat(fd, folder[1] ? folder + 1 : ".", F_OK, 0) == 0 && folder[1])
            printf("ACHIEVED reaching %s\n", folder);
    }
    printf("DONE\n");
    return 0;
}
