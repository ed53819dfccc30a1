// Stands between the server and the C library and plays a disk that keeps a write only once it is synced, or a
// disk whose n-th call fails. Loaded with LD_PRELOAD by disk.ts, which documents the environment it reads.
//
//   S1. Before bytes under the root change, what they replace is kept; a completed fsync or fdatasync of the
//       file drops what was kept before the sync began. A power cut puts the rest back.
//   S2. Names (made, renamed, removed) come back in the same way until their directory is synced. What is
//       removed lives on in the grave, so that it can.
//   S3. A torn cut decides for each sector of 512 bytes, and for the length of each file, by chance whether it
//       had reached the disk; of names it keeps the oldest few, as journaling file systems do.
//   S4. After a failed sync the pages count as clean: a later sync succeeds and the bytes are lost all the same.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#undef fwrite_unlocked

enum { SECTOR = 512, FAIL_SYNC, FAIL_WRITE, FAIL_NAME };
typedef struct piece {
  struct piece *older;
  uint64_t seq;
  off_t at, size_before;
  size_t length, old_length;
  int is_cut;
  char *old;
} piece;
typedef struct file {
  struct file *next;
  dev_t dev;
  ino_t ino;
  int fd;
  piece *newest;
} file;
typedef enum { MADE, MADE_DIR, REMOVED, REMOVED_DIR, RENAMED } kind;
typedef struct name {
  struct name *older;
  uint64_t seq;
  kind what;
  char dir[PATH_MAX], path[PATH_MAX], to[PATH_MAX], grave[PATH_MAX];
} name;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static const char *root, *grave, *trigger, *hit;
static int is_torn, does_sync = 1, cuts_at_exit, fail_class, fail_errno, sync_us;
static long fail_at, fail_count;
static uint64_t seq, seed, graves;
static file *files;
static name *names;

static uint64_t chance(uint64_t a, uint64_t b) {
  uint64_t z = seed + a * 0x9e3779b97f4a7c15u + b * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static int inside(const char *path) {
  size_t n = root ? strlen(root) : 0;
  return n > 0 && strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/** The path of an open file or directory if it is under the root. */
static int path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = root ? readlink(link, path, PATH_MAX - 1) : -1;
  path[n < 0 ? 0 : n] = 0;
  return inside(path);
}

static int at_path(int dir, const char *path, char *full) {
  char base[PATH_MAX];
  if (path[0] == '/' || dir == AT_FDCWD) return snprintf(full, PATH_MAX, "%s", path), inside(full);
  if (!path_of(dir, base)) return 0;
  return snprintf(full, PATH_MAX, "%.*s/%.200s", PATH_MAX - 256, base, path), inside(full);
}

/** Whether this call of the class is the one that fails. */
static int fails(int class, const char *path) {
  if (class != fail_class || ++fail_count != fail_at) return 0;
  int fd = syscall(SYS_openat, AT_FDCWD, hit, O_CREAT | O_WRONLY, 0600);
  syscall(SYS_write, fd, path, strlen(path));
  close(fd);
  if (fail_errno == 0) kill(getpid(), SIGKILL);
  errno = fail_errno;
  return 1;
}

static file *file_of(int fd) {
  struct stat s;
  char link[64];
  if (!root || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return NULL;
  for (file *f = files; f; f = f->next) if (f->ino == s.st_ino && f->dev == s.st_dev) return f;
  char path[PATH_MAX];
  if (!path_of(fd, path)) return NULL;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  file *f = calloc(1, sizeof *f);
  // Kept open, so that the inode is not given to another file.
  *f = (file){files, s.st_dev, s.st_ino, syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC), NULL};
  return files = f;
}

/** S1: `length` bytes at `at` are about to change; all behind it if the file is cut there. */
static void keep(file *f, off_t at, size_t length, int is_cut) {
  struct stat s;
  fstat(f->fd, &s);
  piece *p = calloc(1, sizeof *p);
  *p = (piece){f->newest, ++seq, at, s.st_size, length, 0, is_cut, NULL};
  off_t end = is_cut ? s.st_size : at + (off_t)length;
  if (end > s.st_size) end = s.st_size;
  if (end > at) {
    p->old = malloc(end - at);
    p->old_length = pread(f->fd, p->old, end - at, at);
  }
  f->newest = p;
}

static void forget_pieces(file *f, uint64_t upto) {
  for (piece **at = &f->newest; *at;) {
    piece *p = *at;
    if (p->seq > upto) { at = &p->older; continue; }
    *at = p->older;
    free(p->old);
    free(p);
  }
}

static name *note(kind what, const char *path) {
  name *n = calloc(1, sizeof *n);
  n->older = names, n->seq = ++seq, n->what = what;
  strcpy(n->path, path);
  strcpy(n->dir, path);
  *strrchr(n->dir, '/') = 0;
  return names = n;
}

static void bury(const char *path, char *where) {
  snprintf(where, PATH_MAX, "%.3000s/%d-%lu", grave, getpid(), (unsigned long)++graves);
  if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, where, 0) != 0) where[0] = 0;
}

static void forget_names(const char *dir, uint64_t upto) {
  for (name **at = &names; *at;) {
    name *n = *at;
    if (n->seq > upto || strcmp(n->dir, dir) != 0) { at = &n->older; continue; }
    *at = n->older;
    if (n->grave[0]) syscall(SYS_unlinkat, AT_FDCWD, n->grave, 0);
    free(n);
  }
}

static int remove_any(const char *path, const struct stat *s, int type, struct FTW *w) {
  return syscall(SYS_unlinkat, AT_FDCWD, path, type == FTW_DP ? AT_REMOVEDIR : 0), 0;
}

static void undo_name(name *n) {
  if (n->what == MADE) syscall(SYS_unlinkat, AT_FDCWD, n->path, 0);
  if (n->what == MADE_DIR) nftw(n->path, remove_any, 16, FTW_DEPTH | FTW_PHYS);
  if (n->what == REMOVED_DIR) syscall(SYS_mkdirat, AT_FDCWD, n->path, 0700);
  if (n->what == RENAMED) syscall(SYS_renameat2, AT_FDCWD, n->to, AT_FDCWD, n->path, 0);
  if (n->grave[0])
    syscall(SYS_linkat, AT_FDCWD, n->grave, AT_FDCWD, n->what == RENAMED ? n->to : n->path, 0);
}

static void undo_piece(file *f, piece *p) {
  static const char zeros[SECTOR];
  if (p->is_cut) { syscall(SYS_pwrite64, f->fd, p->old, p->old_length, p->at); return; }
  for (off_t at = p->at, end = p->at + p->length; at < end;) {
    off_t next = (at / SECTOR + 1) * SECTOR;
    if (next > end) next = end;
    off_t old_end = p->at + p->old_length;
    if (!is_torn || chance(f->ino, at / SECTOR) & 1) {
      if (at < old_end)
        syscall(SYS_pwrite64, f->fd, p->old + (at - p->at), (old_end < next ? old_end : next) - at, at);
      off_t blank = at > old_end ? at : old_end;
      if (blank < next) syscall(SYS_pwrite64, f->fd, zeros, next - blank, blank);
    }
    at = next;
  }
}

/** Everything that is not synced goes; the lock stays locked. */
static void cut_power(void) {
  pthread_mutex_lock(&lock);
  uint64_t count = 0, at = 0;
  for (name *n = names; n; n = n->older) count++;
  uint64_t undone = count - (is_torn && count ? chance(1, 2) % (count + 1) : 0);
  for (file *f = files; f; f = f->next) {
    struct stat s;
    off_t size = -1;
    fstat(f->fd, &s);
    for (piece *p = f->newest; p; p = p->older) {
      undo_piece(f, p);
      size = p->size_before;
    }
    if (size >= 0 && !(is_torn && size < s.st_size && chance(f->ino, 3) & 1)) syscall(SYS_ftruncate, f->fd, size);
    else if (size >= 0) syscall(SYS_ftruncate, f->fd, s.st_size);
  }
  for (name *n = names; n && at < undone; n = n->older, at++) undo_name(n);
}

static void *__attribute__((noreturn)) watch(void *unused) {
  for (;; usleep(500)) {
    if (syscall(SYS_faccessat, AT_FDCWD, trigger, F_OK) != 0) continue;
    cut_power();
    kill(getpid(), SIGKILL);
  }
}

__attribute__((constructor)) static void begin(void) {
  const char *fail = getenv("FAULTS_FAIL"), *given = getenv("FAULTS_SEED"), *mode = getenv("FAULTS_MODE");
  char class[16] = "";
  grave = getenv("FAULTS_GRAVE"), hit = getenv("FAULTS_HIT"), trigger = getenv("FAULTS_TRIGGER");
  seed = given ? strtoull(given, NULL, 10) : 0;
  is_torn = mode && strstr(mode, "torn") != NULL;
  cuts_at_exit = mode && strstr(mode, "cut-at-exit") != NULL;
  does_sync = !(mode && strstr(mode, "sync-does-nothing"));
  if (getenv("FAULTS_SYNC_US")) sync_us = atoi(getenv("FAULTS_SYNC_US"));
  if (fail && sscanf(fail, "%15[a-z]:%ld:%d", class, &fail_at, &fail_errno) == 3)
    fail_class = class[0] == 's' ? FAIL_SYNC : class[0] == 'w' ? FAIL_WRITE : FAIL_NAME;
  root = getenv("FAULTS_ROOT");
  pthread_t thread;
  if (root && trigger) pthread_create(&thread, NULL, watch, NULL);
}

__attribute__((destructor)) static void end(void) {
  if (root && cuts_at_exit) cut_power(), syscall(SYS_exit_group, 70);
}

// -- Bytes

/** A write at `at` (-1: where the file stands), kept first. */
static ssize_t written(int fd, const struct iovec *pieces, int count, off_t at) {
  char path[PATH_MAX];
  pthread_mutex_lock(&lock);
  file *f = file_of(fd);
  ssize_t result = -1;
  if (f == NULL || !path_of(fd, path) || !fails(FAIL_WRITE, path)) {
    if (f) {
      size_t length = 0;
      for (int i = 0; i < count; i++) length += pieces[i].iov_len;
      struct stat s;
      fstat(fd, &s);
      off_t from = at >= 0 ? at : fcntl(fd, F_GETFL) & O_APPEND ? s.st_size : lseek(fd, 0, SEEK_CUR);
      keep(f, from, length, 0);
    } else pthread_mutex_unlock(&lock); // A pipe or socket may block.
    result = at >= 0 ? syscall(SYS_pwritev, fd, pieces, count, at, 0) : syscall(SYS_writev, fd, pieces, count);
    if (!f) return result;
  }
  pthread_mutex_unlock(&lock);
  return result;
}
ssize_t write(int fd, const void *from, size_t n) {
  return written(fd, &(struct iovec){(void *)from, n}, 1, -1);
}
ssize_t writev(int fd, const struct iovec *pieces, int count) { return written(fd, pieces, count, -1); }
ssize_t pwrite64(int fd, const void *from, size_t n, off_t at) {
  return written(fd, &(struct iovec){(void *)from, n}, 1, at);
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) { return pwrite64(fd, from, n, at); }
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at) {
  return written(fd, pieces, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t at) {
  return written(fd, pieces, count, at);
}

/** LevelDB's files: each write goes to the file at once, as it would with the flush that follows. */
size_t fwrite_unlocked(const void *from, size_t size, size_t n, FILE *stream) {
  char path[PATH_MAX];
  if (!path_of(fileno(stream), path)) {
    size_t (*real)(const void *, size_t, size_t, FILE *) = dlsym(RTLD_NEXT, "fwrite_unlocked");
    return real(from, size, n, stream);
  }
  for (size_t done = 0; done < size * n;) {
    ssize_t more = write(fileno(stream), (const char *)from + done, size * n - done);
    if (more < 0) return done / size;
    done += more;
  }
  return n;
}

int ftruncate64(int fd, off_t size) {
  pthread_mutex_lock(&lock);
  file *f = file_of(fd);
  if (f) keep(f, size, 0, 1);
  int result = syscall(SYS_ftruncate, fd, size);
  pthread_mutex_unlock(&lock);
  return result;
}

static int synced(int fd, long call) {
  char path[PATH_MAX];
  struct stat s;
  if (!path_of(fd, path) || fstat(fd, &s) != 0) return syscall(call, fd);
  pthread_mutex_lock(&lock);
  uint64_t upto = seq;
  int failed = fails(FAIL_SYNC, path);
  file *f = S_ISREG(s.st_mode) ? file_of(fd) : NULL;
  if (failed && f) for (piece *p = f->newest; p; p = p->older) p->seq = UINT64_MAX; // S4
  pthread_mutex_unlock(&lock);
  if (failed) return errno = fail_errno, -1;
  // No real sync is needed, but a cut may come while one is on its way.
  if (sync_us) usleep(sync_us);
  pthread_mutex_lock(&lock);
  if (does_sync && f) forget_pieces(f, upto);
  if (does_sync && !f) forget_names(path, upto);
  pthread_mutex_unlock(&lock);
  return 0;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

// -- Names

static int opened(int dir, const char *path, int flags, mode_t mode) {
  char full[PATH_MAX];
  struct stat s;
  if (!(flags & (O_CREAT | O_TRUNC)) || !at_path(dir, path, full))
    return syscall(SYS_openat, dir, path, flags, mode);
  pthread_mutex_lock(&lock);
  int is_there = stat(full, &s) == 0, fd = -1;
  if (is_there || !fails(FAIL_NAME, full)) {
    if (is_there && flags & O_TRUNC) {
      int before = syscall(SYS_openat, AT_FDCWD, full, O_RDWR);
      file *f = file_of(before);
      if (f) keep(f, 0, 0, 1);
      close(before);
    }
    fd = syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && !is_there) note(MADE, full);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}
#define MODE_OF(flags) \
  mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, int); va_end(rest); }
int open(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE_OF(flags) return opened(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE_OF(flags) return opened(dir, path, flags, mode); }
FILE *fopen64(const char *path, const char *mode) {
  FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen64");
  if (mode[0] == 'r' || !inside(path)) return real(path, mode);
  int fd = opened(AT_FDCWD, path, O_CREAT | O_WRONLY | (mode[0] == 'a' ? O_APPEND : O_TRUNC), 0644);
  return fd < 0 ? NULL : fdopen(fd, mode);
}

int rename(const char *from, const char *to) {
  if (!inside(from)) return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  pthread_mutex_lock(&lock);
  int result = -1;
  if (!fails(FAIL_NAME, from)) {
    char buried[PATH_MAX];
    bury(to, buried);
    result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (result == 0) {
      name *n = note(RENAMED, from);
      strcpy(n->to, to);
      strcpy(n->grave, buried);
    }
  }
  pthread_mutex_unlock(&lock);
  return result;
}

static int removed(int dir, const char *path, int flags) {
  char full[PATH_MAX], buried[PATH_MAX] = "";
  if (!at_path(dir, path, full)) return syscall(SYS_unlinkat, dir, path, flags);
  pthread_mutex_lock(&lock);
  int result = -1;
  if (!fails(FAIL_NAME, full)) {
    if (!(flags & AT_REMOVEDIR)) bury(full, buried);
    result = syscall(SYS_unlinkat, dir, path, flags);
    if (result == 0) strcpy(note(flags & AT_REMOVEDIR ? REMOVED_DIR : REMOVED, full)->grave, buried);
  }
  pthread_mutex_unlock(&lock);
  return result;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int dir, const char *path, int flags) { return removed(dir, path, flags); }

int mkdir(const char *path, mode_t mode) {
  if (!inside(path)) return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  pthread_mutex_lock(&lock);
  int result = fails(FAIL_NAME, path) ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  if (result == 0) note(MADE_DIR, path);
  pthread_mutex_unlock(&lock);
  return result;
}
