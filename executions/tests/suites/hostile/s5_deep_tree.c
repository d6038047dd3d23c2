/* A tree so deep that removing it by recursion or by path fails. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
    int depth = 0;
    while (depth < 20000 && mkdir("dddddddddddddddddddddddddddddd", 0700) == 0
           && chdir("dddddddddddddddddddddddddddddd") == 0)
        depth++;
    printf("deep: %s\nDONE\n", depth > 1500 ? "yes" : "no");
    return depth > 1500 ? 0 : 1;
}
