from __future__ import annotations

from executions.runtimes.base import Runtime

ASSEMBLY = Runtime(
    key="assembly",
    label="Assembly (NASM, x86-64)",
    aliases=("asm", "nasm"),
    source_name="main.asm",
    # The text is fixed; what the program is called reaches it only as $1.
    compile=(
        "sh",
        "-c",
        'nasm -f elf64 -o a.o "$1" && ld -o a.out a.o',
        "sh",
        "{entry}",
    ),
    run=("./a.out",),
    version=("nasm", "-v"),
    packages=("nasm", "binutils"),
    compile_minimum={"max_processes": 4},
    selftest=(
        "global _start\n"
        "section .data\n"
        'answer: db "42", 10\n'
        "section .text\n"
        "_start:\n"
        "    mov rax, 1\n"
        "    mov rdi, 1\n"
        "    mov rsi, answer\n"
        "    mov rdx, 3\n"
        "    syscall\n"
        "    mov rax, 60\n"
        "    xor rdi, rdi\n"
        "    syscall\n"
    ),
)
