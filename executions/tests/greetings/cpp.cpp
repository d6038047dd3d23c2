#include <iostream>
#include <string>

int main() {
    std::string name;
    std::getline(std::cin, name);
    std::cout << "Grüße, " << name << "!" << std::endl;
    return 3;
}
