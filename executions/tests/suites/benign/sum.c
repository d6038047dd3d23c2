#include <stdio.h>
int main(void)
{
    int a, b;
    char word[64];
    if (scanf("%d %d %63s", &a, &b, word) != 3)
        return 1;
    printf("%d\n%s→ok\n", a + b, word);
    return 0;
}
