// What tests of the launcher share: a home and programs of their own, and records of deployments.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

#include "launcher/deployment/record.h"
#include "launcher/process/child_process.h"
#include "launcher/process/process_identity.h"
#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {

/// Its folder is where dslaunch keeps its state while this lives.
class ScratchHome {
 public:
  ScratchHome() { ::setenv("XDG_STATE_HOME", folder_.path().c_str(), 1); }
  ~ScratchHome() { ::unsetenv("XDG_STATE_HOME"); }
  ScratchHome(const ScratchHome&) = delete;
  ScratchHome& operator=(const ScratchHome&) = delete;

  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  ScratchFolder folder_;
};

/// A process that owns what a test says, until it is killed.
class SleepingOwner {
 public:
  SleepingOwner() : process_(ChildProcess::start({.argv = {"/bin/sleep", "100"}}).value()) {}

  ProcessIdentity identity() const { return identify_process(process_.pid()).value(); }
  void kill() {
    process_.signal(SIGKILL);
    process_.wait();
  }

 private:
  ChildProcess process_;
};

/// Of a replica of this process.
inline DeploymentRecord a_record(const std::string& name, const std::string& launch_id,
                                 DeploymentState state = DeploymentState::kStarting) {
  DeploymentRecord record;
  record.name = name;
  record.launch_id = launch_id;
  record.state = state;
  record.model = "/m";
  record.owner = this_process();
  return record;
}

/// For fake programs (fake_rank.cpp, fake_service.cpp), whose model is the scratch folder.
class FakeProgramTest : public testing::Test {
 protected:
  std::filesystem::path folder() const { return scratch_.path(); }
  /// What the programs that start from now on do.
  void behave(const std::string& how) const {
    std::ofstream(folder() / "behaviour") << how << "\n";
  }

 private:
  ScratchFolder scratch_;
};

}  // namespace dsl::launcher
