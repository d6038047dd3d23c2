#include <concepts>
#include <iostream>
#include <string>

void greet(std::convertible_to<std::string> auto const& name) {
    std::cout << "Grüße, " << name << "!\n";
}

int main() {
    std::string name;
    std::getline(std::cin, name);
    greet(name);
    return 3;
}
