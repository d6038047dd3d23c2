/* Keep forking while the end of the stage kills: the last one born must die too. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    printf("DONE\n");
    fflush(stdout);
    for (int i = 0; i < 24; i++) {
        if (fork() == 0) {
            setsid();
            for (;;) {
                if (fork() == 0)
                    setsid();
            }
        }
    }
    return 0;
}
