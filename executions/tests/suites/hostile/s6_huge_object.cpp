// Make the compiler emit a gigabyte of initialised data.
struct Big { char a[1u << 30]; };
Big big = {{1}};
int main() { return big.a[5]; }
