/* Touch more than the limit: by malloc, bss, mmap (private, shared), or many small maps. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static char bss[600u << 20];

int main(int argc, char **argv)
{
    size_t bytes = 600u << 20, step = 1 << 20;
    const char *kind = argv[1];
    printf("begin %s\n", kind);
    fflush(stdout);
    if (strcmp(kind, "heap") == 0) {
        for (size_t done = 0; done < bytes; done += step)
            memset(malloc(step), 1, step);
    } else if (strcmp(kind, "bss") == 0) {
        memset(bss, 1, sizeof bss);
    } else if (strcmp(kind, "shared") == 0) {
        memset(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 1, bytes);
    } else if (strcmp(kind, "locked") == 0) {
        char *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mlock(block, bytes);
        memset(block, 1, bytes);
    } else if (strcmp(kind, "memfd") == 0) {
        char *part = calloc(1, step);
        for (size_t done = 0, fd = 0; done < bytes; done += step) {
            if (done % (16 * step) == 0) /* each below the limit of one file */
                fd = memfd_create("m", 0);
            if (write(fd, part, step) < 0)
                return perror("write"), 1;
        }
    } else if (strcmp(kind, "sysv") == 0) {
        for (int i = 0; i < 40; i++) {
            int id = shmget(IPC_PRIVATE, 16 << 20, IPC_CREAT | 0600);
            char *part = shmat(id, NULL, 0);
            if (part == (char *)-1)
                return perror("shmat"), 1;
            memset(part, 1, 16 << 20);
            shmdt(part); /* stays without a process that owns it */
        }
    } else if (strcmp(kind, "children") == 0) {
        for (int i = 0; i < 12; i++)
            if (fork() == 0) {
                memset(malloc(50 << 20), 1, 50 << 20);
                pause();
            }
        for (int i = 0; i < 12; i++)
            wait(NULL);
        sleep(2);
    } else if (strcmp(kind, "small-maps") == 0) {
        for (int i = 0; i < 60000; i++) {
            char *part = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (part == MAP_FAILED)
                break;
            memset(part, 1, 12288);
            mprotect(part, 4096, PROT_READ);
        }
    } else if (strcmp(kind, "page-tables") == 0) {
        /* One byte every 2 MiB costs a page and a page of tables. */
        char *wide = mmap(NULL, 1ull << 38, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (wide == MAP_FAILED)
            return perror("mmap"), 1;
        madvise(wide, 1ull << 38, MADV_NOHUGEPAGE);
        for (size_t at = 0; at < 1ull << 38; at += 2 << 20)
            wide[at] = 1;
    }
    printf("ACHIEVED %s\n", kind);
    return 0;
}
