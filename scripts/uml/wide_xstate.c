/*
 * Lets user-mode Linux 6.1 run on processors whose extended state (AVX-512 with AMX tiles)
 * is larger than the buffer that this kernel was built with. The host refuses to set the
 * registers from a partial buffer (EFAULT) and the guest panics in its first process. Loaded
 * with LD_PRELOAD, this completes the buffer with the traced process's own present state.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char whole[64 * 1024] __attribute__((aligned(64)));

static long call(long request, long pid, void *address, void *data)
{
    return syscall(SYS_ptrace, request, pid, address, data);
}

static long set_state(long pid, void *kind, struct iovec *partial)
{
    struct iovec state = { whole, sizeof whole };
    long result = call(PTRACE_SETREGSET, pid, kind, partial);

    if (result == 0 || errno != EFAULT)
        return result;
    if (call(PTRACE_GETREGSET, pid, kind, &state) != 0)
        return -1;
    if (partial->iov_len > state.iov_len) {
        errno = EFAULT;
        return -1;
    }
    memcpy(whole, partial->iov_base, partial->iov_len);
    return call(PTRACE_SETREGSET, pid, kind, &state);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    long pid, result, word = 0;
    void *address, *data;
    int peeks = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA
                || request == PTRACE_PEEKUSER;

    va_start(arguments, request);
    pid = va_arg(arguments, int);
    address = va_arg(arguments, void *);
    data = va_arg(arguments, void *);
    va_end(arguments);
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
        return set_state(pid, address, data);
    /* The kernel stores what it peeked; the C library's function returns it. */
    result = call(request, pid, address, peeks ? &word : data);
    if (!peeks || result < 0)
        return result;
    errno = 0;
    return word;
}
