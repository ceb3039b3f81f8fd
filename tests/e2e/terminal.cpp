#include "tests/e2e/terminal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

namespace dsl::e2e {
namespace {

constexpr int kPollMs = 20;

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const std::string& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

}  // namespace

Terminal::Terminal(const std::vector<std::string>& argv,
                   const std::vector<std::string>& environment) {
  int master = -1;
  int slave = -1;
  EXPECT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
  master_.reset(master);
  slave_.reset(slave);
  ::fcntl(master, F_SETFD, FD_CLOEXEC);
  ::tcgetattr(slave, &before_);
  const std::vector<char*> words = pointers(argv);
  const std::vector<char*> variables = pointers(environment);
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::setsid();
  ::ioctl(slave, TIOCSCTTY, 0);
  for (const int stream : {0, 1, 2}) ::dup2(slave, stream);
  if (slave > 2) ::close(slave);
  ::execve(words[0], words.data(), variables.data());
  ::_exit(127);
}

Terminal::~Terminal() {
  if (ended_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Terminal::type(std::string_view keys) {
  EXPECT_EQ(::write(master_.get(), keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

bool Terminal::read_some(int timeout_ms) {
  pollfd polled{master_.get(), POLLIN, 0};
  if (::poll(&polled, 1, timeout_ms) <= 0) return false;
  char buffer[4096];
  const ssize_t got = ::read(master_.get(), buffer, sizeof(buffer));
  if (got > 0) screen_.append(buffer, static_cast<std::size_t>(got));
  return got > 0;
}

bool Terminal::shows(std::string_view text, std::chrono::seconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (true) {
    const std::size_t at = screen_.find(text, seen_);
    if (at != std::string::npos) {
      seen_ = at + text.size();
      return true;
    }
    if (std::chrono::steady_clock::now() > end) return false;
    read_some(kPollMs);
  }
}

int Terminal::wait(std::chrono::seconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  int status = 0;
  while (::waitpid(pid_, &status, WNOHANG) != pid_) {
    if (std::chrono::steady_clock::now() > end) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, &status, 0);
      break;
    }
    read_some(kPollMs);
  }
  ended_ = true;
  while (read_some(0)) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool Terminal::is_as_before() const {
  termios now = {};
  ::tcgetattr(slave_.get(), &now);
  return now.c_iflag == before_.c_iflag && now.c_oflag == before_.c_oflag &&
         now.c_cflag == before_.c_cflag && now.c_lflag == before_.c_lflag &&
         std::memcmp(now.c_cc, before_.c_cc, sizeof(now.c_cc)) == 0;
}

}  // namespace dsl::e2e
