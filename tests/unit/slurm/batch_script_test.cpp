#include "slurm/batch_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>

namespace dsl::slurm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

JobSpec demo_job() {
  JobSpec spec;
  spec.name = "demo";
  spec.nodes = NodeCount{2, 2};
  spec.ntasks_per_node = 1;
  spec.work_dir = "/home/a user";
  spec.environment = {"DSLAUNCH_SECRET=0123"};
  return spec;
}

std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  std::array<char, 256> buffer;
  for (std::size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    text.append(buffer.data(), n);
  }
  EXPECT_EQ(pclose(pipe), 0) << command;
  return text;
}

TEST(ShellQuote, GivesTheShellTheSameWord) {
  for (const std::string word : {"plain", "", "two words", "it's", "$(id) `id` \"x\" \\", "a\nb",
                                 "*", "~", "-n", "日本", "!x", "a;b&c|d>e"}) {
    EXPECT_EQ(output_of("printf %s " + shell_quote(word)), word);
  }
}

TEST(RenderBatchScript, SaysWhatTheSpecSays) {
  JobSpec spec = demo_job();
  spec.partition = "main";
  spec.time_limit = TimeLimit{90};
  spec.gpus_per_node = "a100:2";
  spec.memory_mb = 0;
  spec.exclusive = true;
  spec.no_kill = true;
  spec.requeue = false;
  spec.signal = WarnSignal{12, 60, true};
  spec.comment = R"({"role":"replica"})";
  const auto script = render_batch_script(spec, {"/opt/ds launch/dslaunch", "supervise", "a'b"});
  ASSERT_TRUE(script.has_value()) << script.error().to_string();
  for (const char* line :
       {"#!/bin/bash\n", "#SBATCH --job-name=demo\n", "#SBATCH --nodes=2\n",
        "#SBATCH --ntasks-per-node=1\n", "#SBATCH --partition=main\n", "#SBATCH --time=01:30:00\n",
        "#SBATCH --gpus-per-node=a100:2\n", "#SBATCH --mem=0M\n", "#SBATCH --exclusive\n",
        "#SBATCH --no-kill\n", "#SBATCH --no-requeue\n", "#SBATCH --signal=B:12@60\n",
        "#SBATCH --comment=\"{\\\"role\\\":\\\"replica\\\"}\"\n",
        "#SBATCH --chdir=\"/home/a user\"\n",
        "exec '/opt/ds launch/dslaunch' supervise 'a'\\''b'\n"}) {
    EXPECT_THAT(*script, HasSubstr(line));
  }
}

TEST(RenderBatchScript, KeepsTheEnvironmentOut) {
  const auto script = render_batch_script(demo_job(), {"dslaunch"});
  ASSERT_TRUE(script.has_value());
  EXPECT_THAT(*script, Not(HasSubstr("SECRET")));
  EXPECT_THAT(*script, Not(HasSubstr("0123")));
}

TEST(RenderBatchScript, RefusesLineBreaksInDirectives) {
  JobSpec spec = demo_job();
  spec.account = "a\nrm -rf /";
  EXPECT_FALSE(render_batch_script(spec, {"dslaunch"}).has_value());
}

TEST(RenderBatchScript, IsValidBash) {
  const auto script = render_batch_script(demo_job(), {"echo", "a\nb", "$HOME"});
  ASSERT_TRUE(script.has_value());
  EXPECT_EQ(output_of("bash -c " + shell_quote(*script)), "a\nb $HOME\n");
}

}  // namespace
}  // namespace dsl::slurm
