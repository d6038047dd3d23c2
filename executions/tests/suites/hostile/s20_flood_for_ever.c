/* Never stop writing, whatever happens. */
#include <signal.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    static char block[65536];
    memset(block, 'f', sizeof block);
    signal(SIGPIPE, SIG_IGN);
    for (;;)
        write(argc > 1 ? 2 : 1, block, sizeof block);
}
