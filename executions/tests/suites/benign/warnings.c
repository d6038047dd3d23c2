#include <stdio.h>
#warning this is only a warning
int main(void)
{
    int unused;
    printf("fine\n");
}
