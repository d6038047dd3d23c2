/* The same with threads. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *wait_forever(void *unused)
{
    pause();
    return unused;
}

int main(int argc, char **argv)
{
    int limit = atoi(argv[1]), made = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_t thread;
    while (made < 10000 && pthread_create(&thread, &small, wait_forever, NULL) == 0)
        made++;
    if (made > limit)
        printf("ACHIEVED %d threads\n", made);
    printf("stopped: %d\nDONE\n", made < 10000);
    fflush(stdout);
    _exit(0);
}
