global _start

section .data
hello:  db "Grüße, "
hello_end:
bang:   db "!", 10

section .bss
name:   resb 100

section .text
_start:
    xor rax, rax
    xor rdi, rdi
    mov rsi, name
    mov rdx, 100
    syscall
    lea r12, [rax - 1]      ; without the newline
    mov rsi, hello
    mov rdx, hello_end - hello
    call print
    mov rsi, name
    mov rdx, r12
    call print
    mov rsi, bang
    mov rdx, 2
    call print
    mov rax, 60
    mov rdi, 3
    syscall

print:
    mov rax, 1
    mov rdi, 1
    syscall
    ret
