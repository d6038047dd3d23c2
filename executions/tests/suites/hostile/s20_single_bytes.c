/* Write byte by byte, from eight processes at once. */
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            for (int j = 0; j < 100000; j++)
                if (write(1, "b", 1) != 1)
                    _exit(1);
            _exit(0);
        }
    while (wait(0) > 0)
        ;
    return 0;
}
