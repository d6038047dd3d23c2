/* Memory in the stacks of many threads. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static void *fill(void *unused)
{
    volatile char stack[15 << 20];
    for (unsigned i = 0; i < sizeof stack; i += 1024)
        stack[i] = 1;
    sleep(5);
    return stack[1024] ? unused : 0;
}
int main(void)
{
    pthread_attr_t wide;
    pthread_t threads[40];
    pthread_attr_init(&wide);
    pthread_attr_setstacksize(&wide, 16 << 20);
    printf("begin\n");
    fflush(stdout);
    for (int i = 0; i < 40; i++)
        pthread_create(&threads[i], &wide, fill, NULL);
    for (int i = 0; i < 40; i++)
        pthread_join(threads[i], NULL);
    printf("ACHIEVED 600 MiB of stacks\n");
}
