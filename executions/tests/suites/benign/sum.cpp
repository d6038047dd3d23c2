#include <iostream>
#include <string>
int main()
{
    int a, b;
    std::string word;
    std::cin >> a >> b >> word;
    std::cout << a + b << '\n' << word << "→ok\n";
}
