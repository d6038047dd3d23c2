#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    int pipes[2], status;
    char text[32] = {0};
    if (pipe(pipes) != 0)
        return 1;
    if (fork() == 0) {
        dup2(pipes[1], 1);
        execlp("echo", "echo", "-n", "child", (char *)0);
        _exit(127);
    }
    wait(&status);
    if (read(pipes[0], text, sizeof text - 1) < 0)
        return 1;
    printf("%s %d\n", text, WEXITSTATUS(status));
}
