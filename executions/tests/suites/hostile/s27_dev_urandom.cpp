#include "/dev/urandom"
int main() { return 0; }
