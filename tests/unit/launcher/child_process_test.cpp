#include "launcher/process/child_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "launcher/process/run_program.h"

namespace dsl::launcher {
namespace {

using std::chrono::seconds;

TEST(ChildProcess, TellsHowItEnded) {
  auto good = ChildProcess::start({.argv = {"/bin/sh", "-c", "exit 7"}});
  ASSERT_TRUE(good);
  EXPECT_EQ(good->wait().code, 7);
  EXPECT_EQ(good->try_wait()->code, 7) << "the same answer again";
  auto killed = ChildProcess::start({.argv = {"/bin/sleep", "100"}});
  killed->signal(SIGKILL);
  EXPECT_EQ(killed->wait().signal, SIGKILL);
  EXPECT_EQ(killed->wait().to_string(), "was killed by signal 9 (Killed)");
}

TEST(ChildProcess, AMissingProgramIsAnErrorHere) {
  EXPECT_EQ(ChildProcess::start({.argv = {"/no/such/program"}}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(ChildProcess::start({.argv = {"/etc/passwd"}}).error().code, ErrorCode::kPermission);
}

TEST(ChildProcess, IsKilledWithItsWholeGroupWhenItsOwnerGoes) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  {
    const UniqueFd in(ends[1]);
    // The grandchild keeps the pipe open as long as it lives.
    auto child = ChildProcess::start(
        {.argv = {"/bin/sh", "-c", "sleep 100 & echo started; wait"}, .standard_output = in.get()});
    ASSERT_TRUE(child);
    char text[8] = {};
    ASSERT_EQ(::read(out.get(), text, sizeof(text)), 8);
  }
  pollfd closed{out.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&closed, 1, 5000), 1);
  char rest = 0;
  EXPECT_EQ(::read(out.get(), &rest, 1), 0) << "the pipe is closed: nobody is left";
}

TEST(ChildProcess, DiesWhenItsParentIsKilled) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  const pid_t parent = ::fork();
  if (parent == 0) {
    auto child = ChildProcess::start({.argv = {"/bin/sleep", "100"}});
    const pid_t pid = child->pid();
    if (::write(in.get(), &pid, sizeof(pid)) != sizeof(pid)) ::_exit(1);
    while (true) ::pause();
  }
  in.reset();
  pid_t grandchild = 0;
  ASSERT_EQ(::read(out.get(), &grandchild, sizeof(grandchild)),
            static_cast<ssize_t>(sizeof(grandchild)));
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, grandchild, 0)));
  ASSERT_TRUE(pidfd.valid());
  ::kill(parent, SIGKILL);
  pollfd gone{pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&gone, 1, 5000), 1);
}

TEST(ChildProcess, EnvironmentIsReplacedAndSignalsAreReset) {
  ::setenv("DSL_TEST_VARIABLE", "old", 1);
  const auto text =
      run_program({"/bin/sh", "-c", "echo $DSL_TEST_VARIABLE"}, Deadline::after(seconds(10)));
  EXPECT_EQ(text, "old\n");
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  auto child = ChildProcess::start({.argv = {"/bin/sleep", "100"}});
  ::pthread_sigmask(SIG_UNBLOCK, &blocked, nullptr);
  child->signal(SIGTERM);
  EXPECT_EQ(child->wait().signal, SIGTERM);
}

TEST(RunProgram, ReportsErrorsAndTakesNoLongerThanAllowed) {
  const Error error{ErrorCode::kModelUnsupported, "no", "r"};
  const auto failed = run_program({"/bin/sh", "-c", "echo '" + error.to_string() + "' >&2; exit 3"},
                                  Deadline::after(seconds(10)));
  EXPECT_EQ(failed.error().code, ErrorCode::kModelUnsupported);
  EXPECT_EQ(run_program({"/bin/false"}, Deadline::after(seconds(10))).error().code,
            ErrorCode::kRankFailed);
  const auto slow =
      run_program({"/bin/sleep", "100"}, Deadline::after(std::chrono::milliseconds(50)));
  EXPECT_EQ(slow.error().code, ErrorCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace dsl::launcher
