/* A cable between two network namespaces, with delay and loss: two TAP devices and a queue for each direction.
 *
 *     delaylink NAMESPACE1 INTERFACE1 NAMESPACE2 INTERFACE2 DELAY_MS LOSS_PERCENT DUPLICATE_PERCENT JITTER_MS
 *
 * NAMESPACE is a path such as /run/netns/name. Prints "ready" once both interfaces exist, and ends when its standard
 * input is closed, so that it never outlives the lab. All applies to each direction. Jitter is added to the delay, at
 * random up to that much for each frame: with it frames overtake each other.
 * delaylink.py does the same where there is no C compiler. (The kernel's own netem is not in every kernel.)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
    QUEUE_LENGTH = 32768, /* frames; 40 ms of full frames at 10 Gbit/s */
    FRAME_SIZE = 1536,    /* bytes; 1500 of payload and the Ethernet header */
    BURST = 64,           /* frames handled in one direction before the other one gets its turn */
    SECOND = 1000000000,  /* nanoseconds */
};

struct frame {
    uint64_t due; /* nanoseconds on the monotonic clock */
    size_t length;
    unsigned char bytes[FRAME_SIZE];
};

struct impairment {
    double loss, duplicate; /* 0 to 1 */
    double jitter;          /* nanoseconds */
};

struct direction {
    int from, to; /* file descriptors of the TAP devices */
    struct frame *frames;
    unsigned first, count;
};

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int open_tap(const char *namespace, const char *name)
{
    int inside = open(namespace, O_RDONLY | O_CLOEXEC);
    if (inside < 0 || setns(inside, CLONE_NEWNET))
        fail(namespace);
    close(inside);
    /* Opened only now: the device appears in the namespace that the descriptor was opened in. */
    int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap < 0)
        fail("/dev/net/tun");
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(tap, TUNSETIFF, &request))
        fail(name);
    return tap;
}

static struct frame *place(struct direction *way, unsigned number)
{
    return &way->frames[(way->first + number) % QUEUE_LENGTH];
}

/* Puts a frame into the queue, behind all that are due before it. */
static void insert(struct direction *way, const struct frame *frame)
{
    if (way->count == QUEUE_LENGTH)
        return;
    unsigned at = way->count++;
    for (; at && place(way, at - 1)->due > frame->due; at--)
        *place(way, at) = *place(way, at - 1);
    *place(way, at) = *frame;
}

/* Moves frames from the device into the queue; returns whether there were any. */
static int take(struct direction *way, uint64_t due, const struct impairment *impairment)
{
    int worked = 0;
    for (int i = 0; i < BURST && way->count < QUEUE_LENGTH; i++) {
        struct frame frame;
        ssize_t length = read(way->from, frame.bytes, FRAME_SIZE);
        if (length <= 0)
            break;
        worked = 1;
        frame.length = (size_t)length;
        if (drand48() < impairment->loss)
            continue;
        for (int copies = drand48() < impairment->duplicate ? 2 : 1; copies; copies--) {
            frame.due = due + (uint64_t)(drand48() * impairment->jitter);
            insert(way, &frame);
        }
    }
    return worked;
}

/* Sends the frames whose time has come; returns whether there were any. */
static int deliver(struct direction *way, uint64_t time)
{
    int worked = 0;
    for (int i = 0; i < BURST && way->count && way->frames[way->first].due <= time; i++) {
        struct frame *frame = &way->frames[way->first];
        if (write(way->to, frame->bytes, frame->length) < 0) {
            /* the far interface is not up, or its queue is full: frames get lost, as they do on a cable */
        }
        way->first = (way->first + 1) % QUEUE_LENGTH;
        way->count--;
        worked = 1;
    }
    return worked;
}

int main(int count, char **arguments)
{
    if (count != 9) {
        fprintf(stderr, "usage: delaylink NAMESPACE1 INTERFACE1 NAMESPACE2 INTERFACE2 DELAY_MS LOSS_PERCENT"
                        " DUPLICATE_PERCENT JITTER_MS\n");
        return 2;
    }
    int near = open_tap(arguments[1], arguments[2]);
    int far = open_tap(arguments[3], arguments[4]);
    uint64_t delay = (uint64_t)(atof(arguments[5]) * 1e6);
    struct impairment impairment = {
        .loss = atof(arguments[6]) / 100,
        .duplicate = atof(arguments[7]) / 100,
        .jitter = atof(arguments[8]) * 1e6,
    };
    struct direction ways[2] = { { .from = near, .to = far }, { .from = far, .to = near } };
    for (int i = 0; i < 2; i++) {
        ways[i].frames = malloc(QUEUE_LENGTH * sizeof(struct frame));
        if (!ways[i].frames)
            fail("queue");
    }
    srand48((long)now());
    puts("ready");
    fflush(stdout);

    for (;;) {
        uint64_t time = now(), next = time + SECOND;
        int worked = 0;
        struct pollfd wait[3] = { { .fd = STDIN_FILENO, .events = POLLIN } };
        for (int i = 0; i < 2; i++) {
            worked |= take(&ways[i], time + delay, &impairment);
            worked |= deliver(&ways[i], time);
            if (ways[i].count && ways[i].frames[ways[i].first].due < next)
                next = ways[i].frames[ways[i].first].due;
            wait[i + 1].fd = ways[i].count < QUEUE_LENGTH ? ways[i].from : -1;
            wait[i + 1].events = POLLIN;
        }
        time = now();
        uint64_t pause = worked || next <= time ? 0 : next - time;
        struct timespec timeout = { .tv_sec = (time_t)(pause / SECOND), .tv_nsec = (long)(pause % SECOND) };
        if (ppoll(wait, 3, &timeout, NULL) > 0 && wait[0].revents)
            return 0;
    }
}
