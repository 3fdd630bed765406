/*
 * A wall clock that is wrong: preloaded into a program, it adds an offset to what the program takes for the time.
 *
 * MOVED_CLOCK names a file of 8 bytes, the offset in nanoseconds (int64, this machine's order). The file is mapped, so
 * whoever writes to it moves the clock of a running program. Clocks that nobody sets (CLOCK_MONOTONIC and the like) are
 * as they were. What waits until a time of the wall clock waits as long as it would have with a clock that is right.
 *
 * Compile: cc -O2 -shared -fPIC -o movedclock.so movedclock.c
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int64_t *moved_by;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *moved_by, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        moved_by = mapped;
}

static int64_t offset(void)
{
    return moved_by ? *moved_by : 0;
}

static void add(struct timespec *when, int64_t nanoseconds)
{
    int64_t sum = when->tv_nsec + nanoseconds % SECOND;
    when->tv_sec += nanoseconds / SECOND;
    if (sum < 0) {
        sum += SECOND;
        when->tv_sec--;
    } else if (sum >= SECOND) {
        sum -= SECOND;
        when->tv_sec++;
    }
    when->tv_nsec = sum;
}

/* Reading the clock. */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        add(now, offset());
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}

/* Waiting until a time: the kernel has the other clock. */

static const struct timespec *unmoved(const struct timespec *until, struct timespec *room)
{
    *room = *until;
    add(room, -offset());
    return room;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    static int (*plain)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec room;
    if (!real) {
        real = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
        plain = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
        if (!plain)
            plain = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    }
    /* A condition may have been told to use CLOCK_MONOTONIC: such a time is near the one that clock says. */
    struct timespec steady;
    clock_gettime(CLOCK_MONOTONIC, &steady);
    if (real && until->tv_sec - steady.tv_sec > 10 * 365 * 86400L)
        return real(condition, mutex, CLOCK_REALTIME, unmoved(until, &room));
    return plain(condition, mutex, until);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until)
{
    static int (*real)(sem_t *, const struct timespec *);
    struct timespec room;
    if (!real)
        real = dlsym(RTLD_NEXT, "sem_timedwait");
    return real(semaphore, unmoved(until, &room));
}

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long given[6];
    struct timespec room;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        given[i] = va_arg(list, long);
    va_end(list);
    if (!real)
        real = dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_futex && given[3] && (given[1] & FUTEX_CLOCK_REALTIME))
        given[3] = (long)unmoved((const struct timespec *)given[3], &room);
    return real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}
