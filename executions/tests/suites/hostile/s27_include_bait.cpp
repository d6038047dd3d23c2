#include "../../../../../../../..@@bait_file@@"
#if __has_include("@@bait_file@@")
#error ACHIEVED seeing the file
#endif
int main() { return 0; }
