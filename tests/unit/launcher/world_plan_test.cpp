#include "launcher/plan/world_plan.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "launcher/plan/cpu_binding.h"
#include "launcher/plan/model_shape.h"
#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {
namespace {

std::vector<Node> nodes(int count, int gpus = 0) {
  std::vector<Node> list;
  for (int i = 0; i < count; ++i) list.push_back({fmt::format("n{}", i), 8, gpus});
  return list;
}

TEST(WorldPlan, KeepsStagesWholeAndCoversAllRanksOnce) {
  for (const int tp : {1, 2, 4, 8}) {
    for (int pp = 1; pp <= 9; ++pp) {
      for (int count = 1; count <= pp; ++count) {
        const Result<WorldPlan> plan = plan_world(nodes(count), tp, pp);
        ASSERT_TRUE(plan) << plan.error().to_string();
        int next = 0;
        int fewest = tp * pp;
        int most = 0;
        for (const NodePlan& node : plan->nodes) {
          EXPECT_EQ(node.first_rank, next);
          EXPECT_EQ(node.num_ranks % tp, 0) << "a stage is split";
          EXPECT_GT(node.num_ranks, 0);
          next += node.num_ranks;
          fewest = std::min(fewest, node.num_ranks);
          most = std::max(most, node.num_ranks);
        }
        EXPECT_EQ(next, tp * pp);
        EXPECT_LE(most - fewest, tp) << "uneven";
      }
    }
  }
}

TEST(WorldPlan, RefusesImpossibleShapesWithTheArithmetic) {
  const auto spread = plan_world(nodes(4), 2, 2);
  ASSERT_FALSE(spread);
  EXPECT_EQ(spread.error().code, ErrorCode::kParallelism);
  EXPECT_THAT(spread.error().message, testing::HasSubstr("tp 2 x pp 2 = 4 ranks"));
  const auto dense = plan_world(nodes(2, 4), 4, 4);
  ASSERT_FALSE(dense);
  EXPECT_THAT(dense.error().message,
              testing::HasSubstr("2 stages x tp 4 = 8 ranks, but has 4 GPUs"));
  EXPECT_FALSE(plan_world({}, 1, 1));
}

TEST(WorldPlan, TextSurvives) {
  const Result<WorldPlan> plan = plan_world(nodes(3), 2, 4);
  EXPECT_EQ(to_text(*plan), "n0:0-1,n1:2-3,n2:4-7");
  EXPECT_EQ(*parse_node_plans(to_text(*plan)), plan->nodes);
  for (const char* bad : {"", "n", "n:", "n:1", "n:1-", ":1-2", "n:2-1", "n:1-2,", "n:a-b",
                          "n:1-99999999999", "n:-1-2"}) {
    EXPECT_EQ(parse_node_plans(bad).error().code, ErrorCode::kInvalidArgument) << bad;
  }
}

TEST(ModelShape, RefusesWhatTheModelCannotBeSplitInto) {
  const ScratchFolder scratch;
  const auto write = [&](const std::string& text) {
    std::ofstream(scratch.path() / "config.json") << text;
  };
  EXPECT_EQ(check_shape(scratch.path() / "none", 1, 1).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(check_shape(scratch.path(), 1, 1).error().code, ErrorCode::kNotFound);
  write(R"({"num_hidden_layers":5,"num_attention_heads":12})");
  EXPECT_TRUE(check_shape(scratch.path(), 4, 5));
  EXPECT_THAT(check_shape(scratch.path(), 1, 6).error().message,
              testing::HasSubstr("6 stages cannot share 5 layers"));
  EXPECT_THAT(check_shape(scratch.path(), 8, 1).error().message,
              testing::HasSubstr("8 shards cannot share 12 heads"));
  for (const char* odd : {"", "{", "[]", R"({"num_hidden_layers":"x","num_attention_heads":-1})"}) {
    write(odd);
    EXPECT_TRUE(check_shape(scratch.path(), 8, 100)) << "the engine explains: " << odd;
  }
}

TEST(ModelShape, SaysWhyItCannotRead) {
  const ScratchFolder scratch;
  for (const std::filesystem::path name : {"config.json", "model"}) {
    const std::filesystem::path loop = scratch.path() / name;
    std::filesystem::create_symlink(loop, loop);
    const Error error = check_shape(name == "model" ? loop : scratch.path(), 1, 1).error();
    EXPECT_EQ(error.code, ErrorCode::kIo);
    EXPECT_EQ(error.message, "cannot read " + loop.string() + ": " + std::strerror(ELOOP));
  }
}

TEST(CpuBinding, SharesAreDisjointAndEven) {
  const std::vector<int> cpus = {3, 5, 7, 9, 11};
  EXPECT_EQ(split_cpus(cpus, 2), (std::vector<std::vector<int>>{{3, 5}, {7, 9, 11}}));
  EXPECT_EQ(split_cpus(cpus, 5).back(), std::vector<int>{11});
  EXPECT_EQ(split_cpus(cpus, 6), std::vector<std::vector<int>>(6)) << "too few: unbound";
  EXPECT_EQ(threads_per_rank(8, 4), 2);
  EXPECT_EQ(threads_per_rank(2, 4), 1);
  EXPECT_FALSE(usable_cpus().empty());
}

TEST(CheckNodesAskedFor, KnowsBeforeThereAreNodesWhatCannotFit) {
  DeploymentSpec spec;
  spec.tp = 2;
  spec.pp = 2;
  EXPECT_TRUE(check_nodes_asked_for(spec));
  for (const char* fits : {"1", "2", "1-2"}) {
    spec.slurm.nodes = fits;
    EXPECT_TRUE(check_nodes_asked_for(spec)) << fits;
  }
  for (const char* too_many : {"3", "2-4"}) {
    spec.slurm.nodes = too_many;
    EXPECT_EQ(check_nodes_asked_for(spec).error().code, ErrorCode::kParallelism) << too_many;
  }
  spec.slurm.nodes = "two";
  EXPECT_EQ(check_nodes_asked_for(spec).error().code, ErrorCode::kInvalidArgument);
  spec.slurm.nodes = "2";
  spec.slurm.ntasks = 4;
  EXPECT_TRUE(check_nodes_asked_for(spec));
  spec.slurm.ntasks = 5;
  EXPECT_THAT(check_nodes_asked_for(spec).error().message, testing::HasSubstr("5 tasks"));
}

}  // namespace
}  // namespace dsl::launcher
