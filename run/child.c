/* run/child.c: a command of which nothing is left in the end.
 *
 * Between this process and the command stands a guard, which does nothing but wait until its line to this
 * process is closed: by child_end, or by the system, whatever this process died of. Then it ends the command
 * and all that the command started: its process group, and on Linux also what left the group, since orphans
 * become the guard's own children there. */
#include "run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

/* nanoseconds; ticks */
enum { TICK = 20000000, ASK_TICKS = 100, KILL_TICKS = 200, GIVE_UP_TICKS = 300 };

typedef struct { int status; bool forced; } Ending;

/* Descriptors that the guard and the command have no use for: a run's log or lock must end with its run. */
static void close_all_but(int kept, int first) {
    for (int fd = first; fd < 1024; fd++)
        if (fd != kept) close(fd);
}

#ifdef __linux__
static void adopt_orphans(void) { prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

/* The guard's children are the command and what was orphaned; what was started by these follows later. */
static void signal_children(int sig) {
    char text[4096], name[64];
    snprintf(name, sizeof name, "/proc/self/task/%ld/children", (long)getpid());
    const int fd = open(name, O_RDONLY);
    const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    for (char *at = text, *end; ; at = end) {
        const long pid = strtol(at, &end, 10);
        if (end == at) return;
        if (pid > 0 && *end) kill((pid_t)pid, sig);     /* a number that the buffer cut: the next time */
    }
}
#else
static void adopt_orphans(void) {}
static void signal_children(int sig) { (void)sig; }
#endif

static Ending end_all(pid_t command, bool at_once) {
    Ending of = {.status = 0};
    for (int tick = at_once ? ASK_TICKS : 0; tick < GIVE_UP_TICKS; tick++) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
            if (pid == command) of.status = status;
        if (pid < 0 && kill(-command, 0) != 0) break;   /* no child, and nobody in the group */
        if (tick == ASK_TICKS || tick >= KILL_TICKS) {
            const int sig = tick == ASK_TICKS ? SIGTERM : SIGKILL;
            of.forced = true;
            kill(-command, sig);
            signal_children(sig);
        }
        nanosleep(&(struct timespec){0, TICK}, NULL);
    }
    return of;
}

static void run_command(const char *command, int in, int out) {
    setpgid(0, 0);                      /* a group of its own, so that what it starts can be ended with it */
    signal(SIGPIPE, SIG_DFL), signal(SIGINT, SIG_DFL), signal(SIGTERM, SIG_DFL), signal(SIGHUP, SIG_DFL);
    dup2(in, 0);
    dup2(out, 1);
    close_all_but(-1, 3);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void guard(const char *command, int in, int out, int life) {
    char byte;
    setpgid(0, 0);
    signal(SIGINT, SIG_IGN), signal(SIGTERM, SIG_IGN), signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    adopt_orphans();
    const pid_t pid = fork();
    if (pid == 0) run_command(command, in, out);
    if (pid < 0) _exit(1);
    setpgid(pid, pid);                  /* whoever comes first */
    close_all_but(life, 0);
    ssize_t asked;
    while ((asked = read(life, &byte, 1)) < 0 && errno == EINTR) {}
    const Ending of = end_all(pid, asked > 0);
    _exit(write(life, &of, sizeof of) != (ssize_t)sizeof of);
}

/* Three pairs of descriptors, none of them 0, 1 or 2, which dup2 takes for itself. */
static bool open_lines(int in[2], int out[2], int life[2]) {
    int *const end[] = {&in[0], &in[1], &out[0], &out[1], &life[0], &life[1]};
    if (pipe(in) || pipe(out) || socketpair(AF_UNIX, SOCK_STREAM, 0, life)) return false;
    for (int k = 0; k < 6; k++)
        if (*end[k] < 3) {
            const int other = fcntl(*end[k], F_DUPFD, 3);
            if (other < 0) return false;
            close(*end[k]);
            *end[k] = other;
        }
    return true;
}

bool child_start(Child *c, const char *command, const char *option, Err *e) {
    int in[2], out[2], life[2];
    *c = (Child){.guard = 0};
    if (!open_lines(in, out, life)) return fail(e, "%s: no pipe: %s", option, strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    const pid_t pid = fork();
    if (pid == 0) guard(command, in[0], out[1], life[1]);
    close(in[0]), close(out[1]), close(life[1]);
    *c = (Child){.to = in[1], .from = out[0], .life = life[0], .guard = pid > 0 ? pid : 0};
    if (pid > 0 && fcntl(c->to, F_SETFL, O_NONBLOCK) == 0) return true;
    fail(e, "%s: cannot be started: %s", option, strerror(errno));
    int status;
    if (c->guard) child_end(c, &status, true);
    else close(c->to), close(c->from), close(c->life);
    return false;
}

bool child_end(Child *c, int *status, bool at_once) {
    Ending of = {.status = 127 << 8};           /* of a guard that could start nothing */
    close(c->to);
    close(c->from);
    if (at_once && write(c->life, "", 1) < 0) {}         /* then the guard is gone, as is seen below */
    shutdown(c->life, SHUT_WR);
    while (read(c->life, &of, sizeof of) < 0 && errno == EINTR) {}
    close(c->life);
    while (waitpid(c->guard, NULL, 0) < 0 && errno == EINTR) {}
    c->guard = 0;
    *status = of.status;
    return !of.forced;
}
