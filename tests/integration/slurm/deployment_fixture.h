// Deployments of the demo model on the test cluster: the commands of its user, and a look at what
// they leave behind.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/slurm/cluster.h"
#include "transport/base/deadline.h"

namespace dsl::slurm_test {

inline const std::string kModel = DSL_TEST_DATA_DIR "/demo_model/arith-bf16";
inline const std::string kQuestion = "What is 47 + 85?";
inline const std::string kAnswer = "132";

/// Every test ends with no job and no process of ours, on any node.
class DeploymentTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Runs dslaunch on the login node with a home of the cluster's own.
  Finished dslaunch(const std::vector<std::string>& arguments,
                    const std::vector<std::string>& before = {}) const;
  /// `up` of the demo model as "demo" over two nodes.
  Finished up(const std::vector<std::string>& more = {}) const;
  std::vector<std::string> in_home() const;
  /// What dslaunch keeps in that home.
  std::filesystem::path state_folder() const;

  /// The last line of an output, as JSON: progress stands before it.
  static nlohmann::json last_line(const Finished& finished);
  void expect_right_answer() const;
  /// Polls `dslaunch status demo` until the state is `wanted`.
  nlohmann::json wait_for_state(const std::string& wanted, std::chrono::seconds patience) const;
  /// What `status` shows of the services of a role; empty while there is no deployment.
  std::vector<nlohmann::json> entries(const std::string& role) const;
  /// Names of the jobs that live.
  std::vector<std::string> jobs() const;
  void expect_nothing_left() const;

  template <typename Condition>
  static bool becomes(Condition condition, std::chrono::seconds patience) {
    const Deadline deadline = Deadline::after(patience);
    while (!condition()) {
      if (deadline.expired()) return false;
      // Status is polled: nothing announces a change.
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return true;
  }

  Cluster* cluster_ = nullptr;
};

}  // namespace dsl::slurm_test
