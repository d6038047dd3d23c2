/* Make the assembler write an object of 8 GiB. */
__asm__(".data\n.globl big\nbig: .fill 1073741824, 8, 0x4142434445464748\n.text");
int main(void) { return 0; }
