/* Replace the running binaries: /proc/self/exe, the loader, libc, by every open mode. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void try(const char *path)
{
    int modes[] = {O_WRONLY, O_RDWR, O_WRONLY | O_APPEND};
    for (int i = 0; i < 3; i++)
        if (open(path, modes[i]) >= 0)
            printf("ACHIEVED opening %s\n", path);
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
        printf("ACHIEVED mapping %s\n", path);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (fd >= 0 && open(link, O_WRONLY) >= 0)
        printf("ACHIEVED reopening %s\n", path);
}

int main(void)
{
    char line[512], path[256];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (sscanf(line, "%*s %*s %*s %*s %*s %255s", path) == 1 && strncmp(path, "/usr", 4) == 0)
            try(path);
    try("/usr/bin/python3");
    try("/usr/bin/gcc");
    try("/bin/sh");
    try("/proc/1/exe");
    printf("DONE\n");
}
