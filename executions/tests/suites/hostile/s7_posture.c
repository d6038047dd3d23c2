#include <stdio.h>
int main(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    for (int c; (c = getc(file)) != EOF;)
        putchar(c);
    puts("DONE");
}
