/*
 * A C program that shares a PthreadMutex<u64>, as docs/c-layout.md says. It tells each step in a line.
 *
 *   share add NAME       takes the lock and adds 1
 *   share die NAME       takes the lock, adds 1000, and waits there to be killed
 *   share time NAME      takes the lock, or gives up after 50 ms of the monotonic clock
 *   share leave NAME     takes the lock over from a dead owner and leaves the judgement to others
 *   share attach NAME    counts as somebody who uses the segment until its input ends
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 4096, LAYOUT = 1, PTHREAD_MUTEX = 4 };
enum { MUTEX = 128, STATE = 192, VALUE = 256 };
enum { CLEAN = 0, INCONSISTENT = 1, ABANDONED = 2 };

/* Held, shared, by everybody who uses a segment. */
static const off_t ATTACH_BYTE = ((off_t)1 << 40) - 31;

static pthread_mutex_t *mutex;
static volatile uint32_t *state;
static volatile uint64_t *value;

static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

static void refuse(const char *why)
{
    printf("refused: %s\n", why);
    exit(2);
}

static uint64_t word(const unsigned char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint32_t half(const unsigned char *at)
{
    uint32_t half;
    memcpy(&half, at, sizeof half);
    return half;
}

static uint64_t checksum(const unsigned char *bytes, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t at = 0; at < len; at++)
        hash = (hash ^ bytes[at]) * 0x100000001b3;
    return hash;
}

static void check(const unsigned char *header, uint64_t len)
{
    struct stat ours;
    uint64_t object = word(header + 96);
    if (memcmp(header, "STEADFST", 8) != 0)
        refuse("not a segment");
    if (half(header + 8) != LAYOUT)
        refuse("another layout");
    if (half(header + 12) != PTHREAD_MUTEX)
        refuse("not a PthreadMutex");
    if (word(header + 4088) != checksum(header, 4088) || word(header + 48) != len)
        refuse("damaged");
    if (stat("/proc/self/ns/pid", &ours) != 0 || word(header + 72) != (uint64_t)ours.st_ino)
        refuse("another PID namespace");
    if (object % 128 != 0 || object > len || len - object < VALUE + sizeof *value)
        refuse("damaged");
}

static int open_segment(const char *name)
{
    char path[256];
    struct stat file;
    snprintf(path, sizeof path, "/steadfast.%s", name);
    int descriptor = shm_open(path, O_RDWR, 0);
    if (descriptor < 0 || fstat(descriptor, &file) != 0 || file.st_size < HEADER)
        refuse("not a segment");
    size_t len = (size_t)file.st_size;
    unsigned char *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (bytes == MAP_FAILED)
        refuse("no memory");
    check(bytes, len);
    unsigned char *object = bytes + word(bytes + 96);
    if (word(object) != sizeof *value || word(object + 8) != _Alignof(uint64_t) ||
        word(object + 16) != checksum(object, 16))
        refuse("another value");
    mutex = (pthread_mutex_t *)(object + MUTEX);
    state = (volatile uint32_t *)(object + STATE);
    value = (volatile uint64_t *)(object + VALUE);
    return descriptor;
}

/* Takes the lock, or says why not. The value may want to be judged: *state is not CLEAN then. */
static int lock(long milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += milliseconds % 1000 * 1000000;
    until.tv_sec += milliseconds / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int result = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
    switch (result) {
    case 0:
        say(*state == CLEAN ? "locked" : *state == ABANDONED ? "abandoned" : "locked, to be judged");
        return 1;
    case EOWNERDEAD:
        say("EOWNERDEAD");
        /* First the word for the others, then the mutex: killed in between, the next one is told again. */
        if (*state != ABANDONED)
            *state = INCONSISTENT;
        pthread_mutex_consistent(mutex);
        return 1;
    case ETIMEDOUT:
        say("ETIMEDOUT");
        return 0;
    default:
        say(strerror(result));
        return 0;
    }
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 1;
    const char *what = arguments[1];
    int descriptor = open_segment(arguments[2]);
    if (strcmp(what, "attach") == 0) {
        struct flock shared = {
            .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = ATTACH_BYTE, .l_len = 1};
        if (fcntl(descriptor, F_OFD_SETLK, &shared) != 0)
            refuse("being removed");
        say("attached");
        while (getchar() != EOF)
            ;
        return 0;
    }
    if (!lock(strcmp(what, "time") == 0 ? 50 : 60000))
        return 0;
    if (strcmp(what, "add") == 0) {
        if (*state != ABANDONED) {
            *value += 1;
            *state = CLEAN; /* any number is a right one */
        }
    } else if (strcmp(what, "die") == 0) {
        *value += 1000;
        say("holding");
        pause();
    }
    pthread_mutex_unlock(mutex);
    say("unlocked");
    return 0;
}
