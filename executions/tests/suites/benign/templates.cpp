// A normal use of heavy headers: takes the compiler a second or two.
#include <bits/stdc++.h>
template <int N> struct Fib { static constexpr long value = Fib<N - 1>::value + Fib<N - 2>::value; };
template <> struct Fib<1> { static constexpr long value = 1; };
template <> struct Fib<0> { static constexpr long value = 0; };
int main()
{
    std::regex word("[a-z]+");
    std::string text = "one two three";
    std::cout << std::distance(std::sregex_iterator(text.begin(), text.end(), word), {}) << ' ' << Fib<80>::value << '\n';
}
