constexpr unsigned long long spin(unsigned long long n) { unsigned long long s = 0; for (unsigned long long i = 0; i < n; i++) for (unsigned long long j = 0; j < 250000; j++) s += i ^ j; return s; }
template <int N> struct Burn { static constexpr auto value = spin(100) + Burn<N - 1>::value; };
template <> struct Burn<0> { static constexpr auto value = spin(1); };
static_assert(Burn<800>::value != 0);
int main() { return 0; }
