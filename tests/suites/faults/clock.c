/* Loaded before nfio's other libraries, it has the wall clock be off by as many seconds as the file NFIO_CLOCK says.
   The monotonic clock is left alone, as a machine's jumping clock leaves it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long answer = syscall(SYS_clock_gettime, clock, now);
    const char *path = getenv("NFIO_CLOCK");
    char text[32] = "";
    int file;

    if (answer != 0 || path == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return (int)answer;
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) > 0)
            now->tv_sec += atol(text);
        close(file);
    }
    return (int)answer;
}
