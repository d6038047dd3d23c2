#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    size_t bytes = 110u << 20;
    char *block = malloc(bytes);
    memset(block, 1, bytes);
    printf("%zu\n", bytes >> 20);
}
