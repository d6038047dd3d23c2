/* 32-bit calls from 64-bit code: mkdir by int 0x80 must fail or kill. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
    printf("begin\n");
    fflush(stdout);
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    if (result > 0)
        printf("ACHIEVED a 32-bit getpid: %ld\n", result);
    /* socket(AF_VSOCK) through socketcall-free 32-bit number 359 */
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(359), "b"(40), "c"(1), "d"(0) : "memory", "r8", "r9", "r10", "r11");
    if (result >= 0)
        printf("ACHIEVED a 32-bit socket: %ld\n", result);
#endif
    printf("DONE\n");
}
