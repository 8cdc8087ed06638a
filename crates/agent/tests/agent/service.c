/* A service without libraries: answers one request a connection, in the order they come.
 * GET /healthz, /pid, /uid, /env/NAME, /read/PATH, /write/PATH, /crash. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_term(int signal) {
  (void)signal;
  static const char text[] = "asked to stop\n";
  if (write(1, text, sizeof text - 1)) {}
  _exit(0);
}

static void answer(int client, const char *path) {
  char body[512];
  int status = 200;
  const char *mode = getenv("MODE");
  if (!strcmp(path, "/healthz")) {
    if (mode && !strcmp(mode, "sick")) status = 500;
    snprintf(body, sizeof body, "health");
  } else if (!strcmp(path, "/pid")) {
    snprintf(body, sizeof body, "%d", getpid());
  } else if (!strcmp(path, "/uid")) {
    snprintf(body, sizeof body, "%d", getuid());
  } else if (!strcmp(path, "/crash")) {
    printf("about to crash\n");
    exit(3);
  } else if (!strncmp(path, "/env/", 5)) {
    const char *value = getenv(path + 5);
    snprintf(body, sizeof body, "%s", value ? value : "(unset)");
  } else if (!strncmp(path, "/read/", 6)) {
    int fd = open(path + 5, O_RDONLY);
    snprintf(body, sizeof body, "%s", fd < 0 ? strerror(errno) : "read");
    if (fd >= 0) close(fd);
  } else if (!strncmp(path, "/write/", 7)) {
    int fd = open(path + 6, O_WRONLY | O_CREAT, 0644);
    snprintf(body, sizeof body, "%s", fd < 0 ? strerror(errno) : "written");
    if (fd >= 0) close(fd);
  } else {
    status = 404;
    snprintf(body, sizeof body, "none");
  }
  char head[1024];
  int size = snprintf(head, sizeof head,
      "HTTP/1.1 %d x\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n%s",
      status, strlen(body), body);
  if (write(client, head, size)) {}
}

int main(int count, char **words) {
  const char *mode = getenv("MODE");
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (mode && !strcmp(mode, "stubborn")) signal(SIGTERM, SIG_IGN);
  else signal(SIGTERM, on_term);
  if (mode && !strcmp(mode, "quits")) {
    printf("cannot reach the database\n");
    return 4;
  }
  int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(count > 1 ? atoi(words[1]) : 0);
  if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 64)) {
    perror("listen");
    return 1;
  }
  printf("listening on %s, PORT %s\n", count > 1 ? words[1] : "?", getenv("PORT"));
  if (mode && !strcmp(mode, "sick")) fprintf(stderr, "warming up a cache that never fills\n");
  for (;;) {
    int client = accept(server, NULL, NULL);
    if (client < 0) continue;
    char request[2048];
    ssize_t size = read(client, request, sizeof request - 1);
    if (size > 0) {
      request[size] = 0;
      char path[1024];
      if (sscanf(request, "GET %1023s", path) == 1) answer(client, path);
    }
    close(client);
  }
}
