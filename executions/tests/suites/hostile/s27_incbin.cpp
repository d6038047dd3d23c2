#include <cstdio>
asm(".data\n.globl stolen\nstolen: .incbin \"@@bait_file@@\"\n.byte 0\n.text");
extern char stolen[];
int main() { std::puts(stolen); }
